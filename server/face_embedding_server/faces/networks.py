"""Runs the networks that find faces, by OpenVINO.

A photograph is searched by one thread, and as many photographs at a time as the engine has streams:
what counts is how many are searched a second, and the threads of photographs are as many as there
are processors.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from face_embedding_server.faces.detectors import Running

_DEVICE = "CPU"
_TRIAL_SIDE = 32
# What was made ready for sizes of input, a kernel an operator and size: enough for all sizes of
# MTCNN, and eight of YuNet. Without a limit, photographs of 200 sizes take 500 MB.
_KERNELS_KEPT = 400


class NetworkError(Exception):
    """A network cannot be read, or has another form than is needed."""


@dataclass(frozen=True)
class Form:
    """What a network takes and gives.

    Args:
        layout: of its input, NHWC or NCHW.
        shape: of its input, in that layout; -1 where any size fits.
        outputs: the names of the values that are wanted, and their shapes, -1 for any size. They
            may be inside of the network: what comes after them is not computed.
        mean: what the network was trained on was less by it, from 0 to 255.
        scale: and then divided by it.
    """

    layout: str
    shape: Sequence[int]
    outputs: Mapping[str, Sequence[int]]
    mean: float = 0
    scale: float = 1


class Network:
    """A compiled network. Safe to use from any thread.

    It is made ready for each new size of input, which takes as long as an inference or more: let
    there be few sizes.

    Args:
        onnx: the network, the bytes of an ONNX file.
        form: the form that it has to have.
        running: how it is run.

    Raises:
        NetworkError: if it cannot be read, or has another form.
    """

    def __init__(self, onnx: bytes, form: Form, running: Running) -> None:
        self._number = len(form.outputs)
        self._local = threading.local()
        try:
            self._compiled = ov.Core().compile_model(
                _prepared(onnx, form),
                _DEVICE,
                {
                    # Unasked, OpenVINO takes bf16 where the processor has it.
                    "INFERENCE_PRECISION_HINT": running.precision,
                    "INFERENCE_NUM_THREADS": running.at_once,
                    "NUM_STREAMS": running.at_once,
                    # The streams of several networks would share a processor beside an idle one.
                    "ENABLE_CPU_PINNING": False,
                    "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS_KEPT,
                },
            )
            self._try()
        except RuntimeError as error:
            raise NetworkError(str(error).strip().splitlines()[-1]) from error

    def _try(self) -> None:
        """Run it once, in this thread.

        Where the first arrays of a process come in two threads at once, OpenVINO's binding waits
        for the interpreter's lock in one and for the other, with that lock, in the other.
        """
        shape = self._compiled.input().get_partial_shape()
        sides = [_TRIAL_SIDE if side.is_dynamic else side.get_length() for side in shape]
        self.run(np.zeros(sides, np.float32))

    def run(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return what the network gives, in the order of its form.

        It is valid until the next run in the same thread.

        Args:
            images: float32 `[number, height, width, 3]`, 0 to 255, in the network's order of
                channels, and of a size that fits its form.
        """
        try:
            request: ov.InferRequest = self._local.request
        except AttributeError:
            request = self._local.request = self._compiled.create_infer_request()
        # Shared, as the dictionary of copies that it returns otherwise takes 37 us to make.
        request.infer(images, share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(index).data for index in range(self._number)]


def _prepared(onnx: bytes, form: Form) -> ov.Model:
    """Return a network that takes images in the layout NHWC, 0 to 255."""
    network = _cut(ov.Core().read_model(onnx), form)
    network.reshape(list(form.shape))
    processor = PrePostProcessor(network)
    processor.input().tensor().set_layout(ov.Layout("NHWC"))
    processor.input().model().set_layout(ov.Layout(form.layout))
    processor.input().preprocess().mean(form.mean).scale(form.scale)
    return processor.build()


def _cut(network: ov.Model, form: Form) -> ov.Model:
    """Return the part of a network that computes what is wanted."""
    outputs = network.add_outputs(list(form.outputs))
    for output, (name, shape) in zip(outputs, form.outputs.items(), strict=True):
        if not output.get_partial_shape().compatible(ov.PartialShape(list(shape))):
            raise NetworkError(
                f"its output '{name}' has the shape {output.get_partial_shape()} instead of {shape}"
            )
    return ov.Model(outputs, network.get_parameters())
