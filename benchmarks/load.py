"""A load generator: callers in a closed loop, in a process of its own.

Prints one JSON object. Requests are serialized once and answers are not parsed, so that what is
measured is the server and not this client.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb

SERVICE = "/face_embedding.v1.FaceEmbeddingService"
V2_INFER = "/inference.GRPCInferenceService/ModelInfer"
BATCH = 16
# Items that one caller of a stream has under way.
STREAM_WINDOW = 16
WARM_UP_CALLS = 20
TIMEOUT_S = 60
RAMP_S = 0.3


def main() -> None:
    """Run the load and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("mode", choices=["unary", "batch", "stream", "v2"])
    parser.add_argument("callers", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("pid", type=int, help="the server's process, whose CPU time is read")
    parser.add_argument("--model", help="its name, which v2 has to say")
    parser.add_argument("--connections", type=int, default=1, help="the callers share them")
    options = parser.parse_args()
    of_its_own = [("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(options.address, of_its_own))
            for _ in range(options.connections)
        ]
        print(json.dumps(measure(channels, options)))


def measure(channels: list[grpc.Channel], options: argparse.Namespace) -> dict[str, float]:
    """Return faces a second, percentiles of latency in ms, and CPU time a face on either side.

    Counted is what is answered within a window that begins after all callers are under way and ends
    before any stops, so that neither start nor end dilutes the figures.
    """
    mode, seconds = options.mode, options.seconds
    faces = BATCH if mode == "batch" else 1
    if mode == "v2":
        path, request = V2_INFER, v2_request(options.model).SerializeToString()
    else:
        path = f"{SERVICE}/Embed"
        request = pb.EmbedRequest(faces=[face()] * faces).SerializeToString()
    methods = [channel.unary_unary(path) for channel in channels]
    for embed in methods:
        for _ in range(WARM_UP_CALLS // len(methods) + 1):
            embed(request, timeout=TIMEOUT_S)
    begin = time.perf_counter() + RAMP_S
    end = begin + seconds
    calls = (
        [stream_caller(channel, end) for channel in channels]
        if mode == "stream"
        else [unary_caller(embed, request, end) for embed in methods]
    )
    answers: list[Answer] = []

    def work(call: Callable[[], list[Answer]]) -> None:
        answers.extend(call())

    threads = [
        threading.Thread(target=work, args=[calls[number % len(calls)]])
        for number in range(options.callers)
    ]
    cpu, server_cpu = time.process_time(), cpu_s(options.pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu, server_cpu = time.process_time() - cpu, cpu_s(options.pid) - server_cpu
    count = len(answers) * faces
    latencies = [answer.latency for answer in answers if begin <= answer.at < end]
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return {
        "throughput": len(latencies) * faces / seconds,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "client_cpu_ms": 1e3 * cpu / count,
        "server_cpu_ms": 1e3 * server_cpu / count,
    }


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Answer(NamedTuple):
    """When an answer came, and how long it had taken, in seconds."""

    at: float
    latency: float


def unary_caller(
    embed: Callable[..., bytes], request: bytes, end: float
) -> Callable[[], list[Answer]]:
    """Return a caller that sends its next request when the last one is answered."""

    def call() -> list[Answer]:
        answers = []
        now = time.perf_counter()
        while now < end:
            sent = now
            embed(request, timeout=TIMEOUT_S)
            now = time.perf_counter()
            answers.append(Answer(now, now - sent))
        return answers

    return call


def stream_caller(channel: grpc.Channel, end: float) -> Callable[[], list[Answer]]:
    """Return a caller that keeps a window of items under way in one stream."""
    stream = channel.stream_stream(f"{SERVICE}/EmbedStream")
    item = pb.EmbedStreamRequest(face=face()).SerializeToString()

    def call() -> list[Answer]:
        answers: list[Answer] = []
        sent: list[float] = []
        room = threading.Semaphore(STREAM_WINDOW)

        def items() -> Iterator[bytes]:
            while time.perf_counter() < end:
                room.acquire()
                sent.append(time.perf_counter())
                yield item

        for _ in stream(items()):
            # All items are alike, so which one was answered does not matter.
            now = time.perf_counter()
            answers.append(Answer(now, now - sent[len(answers)]))
            room.release()
        return answers

    return call


def face() -> pb.Face:
    """Return an aligned face of noise."""
    raw = pb.RawImage(
        data=noise_bgr().tobytes(), width=112, height=112, channel_order=pb.CHANNEL_ORDER_BGR
    )
    return pb.Face(raw=raw, aligned=pb.Aligned())


def v2_request(model: str) -> oip.ModelInferRequest:
    """Return a request for the same face of any server of the Open Inference Protocol."""
    data = noise_bgr().transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    tensor = oip.ModelInferRequest.InferInputTensor(name="data", datatype="FP32", shape=data.shape)
    output = oip.ModelInferRequest.InferRequestedOutputTensor(name="pre_fc1")
    return oip.ModelInferRequest(
        model_name=model, inputs=[tensor], outputs=[output], raw_input_contents=[data.tobytes()]
    )


def noise_bgr() -> NDArray[np.uint8]:
    """Return the pixels of a face, HWC."""
    return np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)


if __name__ == "__main__":
    main()
