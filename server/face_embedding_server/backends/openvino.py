"""OpenVINO: runs the IR from the store. Production."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from face_embedding_models import ir
from face_embedding_models.store import StoredModel
from face_embedding_server.backends import BackendError, BackendInfo

_DEVICE = "CPU"
_PRECISIONS = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}


class OpenVinoBackend:
    """A compiled model and one thread, with one infer request, for each of its streams."""

    def __init__(self, compiled: ov.CompiledModel, info: BackendInfo) -> None:
        self.info = info
        self._compiled = compiled
        self._local = threading.local()
        streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._threads = ThreadPoolExecutor(streams, "openvino", self._create_request)

    def submit(self, face_bgr: NDArray[np.uint8]) -> "Future[NDArray[np.float32]]":
        """Embed one face; see `Backend.submit`."""
        return self._threads.submit(self._infer, face_bgr)

    def close(self) -> None:
        """Finish what was submitted; see `Backend.close`."""
        self._threads.shutdown()

    def _create_request(self) -> None:
        self._local.request = self._compiled.create_infer_request()

    def _infer(self, face_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        request: ov.InferRequest = self._local.request
        request.get_input_tensor().data[0] = face_bgr
        request.infer()
        # Copied: the next inference overwrites the output.
        embedding: NDArray[np.float32] = request.get_output_tensor().data[0].copy()
        return embedding


def load(model: StoredModel, precision: str) -> OpenVinoBackend:
    """Load the model's IR; see `backends.load`."""
    if precision not in _PRECISIONS:
        raise BackendError(
            f"openvino has no precision '{precision}'; known are {', '.join(_PRECISIONS)}"
        )
    core = ov.Core()
    network = _with_image_input(ir.read(model), model)
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        # Unasked, OpenVINO takes bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
    }
    try:
        compiled = core.compile_model(network, _DEVICE, options)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot compile {model.manifest.name}: {error}") from error
    info = BackendInfo(
        name="openvino",
        version=ov.get_version(),
        device=f"{_DEVICE}: {core.get_property(_DEVICE, 'FULL_DEVICE_NAME')}",
        precision=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        channel_order="BGR",
    )
    return OpenVinoBackend(compiled, info)


def _with_image_input(network: ov.Model, model: StoredModel) -> ov.Model:
    """Make the network take one face as it is inside the server: uint8 NHWC BGR.

    The IR takes BGR too, so the channels stay as they are; layout and type are converted by the
    compiled model itself.
    """
    size = model.manifest.input
    network.reshape([1, 3, size.height, size.width])
    processor = PrePostProcessor(network)
    processor.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    processor.input().model().set_layout(ov.Layout("NCHW"))
    return processor.build()
