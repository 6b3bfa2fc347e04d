"""What the programs of the peers share: their arguments, where they listen, and the engine.

A program of its own Python, with OpenVINO beside the peer: it knows nothing of this project.
"""

import argparse
import asyncio
import logging
import os
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

HOST = "127.0.0.1"
SHAPE = (1, 3, 112, 112)
OUTPUT = "pre_fc1"
# Inferences that are handed to the engine at once, more than there are callers.
UNDER_WAY = 32


def arguments() -> argparse.Namespace:
    """Return what a program is told: positions alone, as KServe reads the options itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ir", type=Path)
    parser.add_argument("model", help="the name by which it is served")
    parser.add_argument("precision", choices=["f32", "bf16"])
    parser.add_argument("hint", choices=["throughput", "latency"])
    return parser.parse_args()


def announce(package: str) -> int:
    """Say where the peer will listen, on a free port, and return that port."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    print(f"{package} {version(package)} on {HOST}:{port} ", flush=True)
    # Nobody reads on, and what is printed must not fill the pipe.
    os.dup2(2, 1)
    # Both write a line a call otherwise.
    logging.disable(logging.INFO)
    return port


class Engine:
    """A network on all processors, for callers of one event loop, none of which blocks it."""

    def __init__(self, ir: Path, precision: str, hint: str) -> None:
        core = ov.Core()
        network = core.read_model(ir)
        network.reshape(SHAPE)
        options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": hint.upper()}
        compiled = core.compile_model(network, "CPU", options)
        self._requests = ov.AsyncInferQueue(compiled, UNDER_WAY)
        self._requests.set_callback(_answer)

    async def infer(self, data: np.ndarray) -> np.ndarray:
        """Return the embedding of a face, float32 NCHW, values from 0 to 255."""
        answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._requests.start_async({0: data}, answer, share_inputs=True)
        return await answer


def _answer(request: Any, answer: "asyncio.Future[np.ndarray]") -> None:
    """Pass on an output from the engine's thread to the event loop's."""
    embedding = request.get_output_tensor(0).data.copy()
    answer.get_loop().call_soon_threadsafe(answer.set_result, embedding)
