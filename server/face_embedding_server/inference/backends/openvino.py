"""OpenVINO: runs the IR from the store. Production."""

import threading

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from face_embedding_models.openvino import ir
from face_embedding_models.openvino.precision import PRECISIONS, effective
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.faces.images import Pixels
from face_embedding_server.inference.backends import BackendError, BackendInfo
from face_embedding_server.inference.threads import available_cpus
from face_embedding_server.settings import AUTO

_DEVICE = "CPU"
# After faces that overlapped, so many in a row have to find nothing in flight before one is taken
# for a lone one again: between two callers there are moments in which one face is alone, and all
# threads on it and a stream on the next one get in each other's way.
_LONE_AFTER = 8


class OpenVinoBackend:
    """Two compiled forms of one model: one answers a lone face, the other many at once.

    A lone face gets all threads and so the shortest latency. Faces that come while another is
    computed each get one of the parallel streams, which together have the highest throughput. Which
    it is follows from what is and was in flight, so there is nothing to choose.
    """

    def __init__(
        self, lone: ov.CompiledModel, parallel: ov.CompiledModel, info: BackendInfo
    ) -> None:
        self.info = info
        self._lone = _Request(lone)
        self._parallel = parallel
        self._local = threading.local()
        self._busy = threading.Lock()
        self._in_flight = 0
        self._until_lone = 0

    def embed(self, face_bgr: Pixels) -> NDArray[np.float32]:
        """Embed one face; see `Backend.embed`."""
        with self._busy:
            self._until_lone = _LONE_AFTER if self._in_flight else max(0, self._until_lone - 1)
            alone = self._until_lone == 0
            self._in_flight += 1
        try:
            return (self._lone if alone else self._own_request()).embed(face_bgr)
        finally:
            with self._busy:
                self._in_flight -= 1

    def close(self) -> None:
        """Let go of the engine; see `Backend.close`."""

    def _own_request(self) -> "_Request":
        """Return the calling thread's request."""
        try:
            request: _Request = self._local.request
        except AttributeError:
            request = self._local.request = _Request(self._parallel)
        return request


class _Request:
    """An infer request with views of its input and its output. For one thread at a time."""

    def __init__(self, model: ov.CompiledModel) -> None:
        self._request = model.create_infer_request()
        self._input = self._request.get_input_tensor().data
        self._output = self._request.get_output_tensor().data

    def embed(self, face_bgr: Pixels) -> NDArray[np.float32]:
        self._input[0] = face_bgr
        # Shared, as the dictionary of copies that it returns otherwise takes 37 us to make.
        self._request.infer(share_inputs=True, share_outputs=True)
        # Copied: the next inference overwrites the output.
        embedding: NDArray[np.float32] = self._output[0].copy()
        return embedding


def load(model: StoredModel, precision: str) -> OpenVinoBackend:
    """Load the model's IR; see `backends.load`."""
    if precision not in PRECISIONS:
        raise BackendError(
            f"openvino has no precision '{precision}'; known are {', '.join(PRECISIONS)} and {AUTO}"
        )
    core = ov.Core()
    chosen = PRECISIONS[precision]
    network = _with_image_input(ir.read(model, chosen.ir), model)
    options = {
        # Unasked, OpenVINO takes bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": chosen.hint,
        "INFERENCE_NUM_THREADS": available_cpus(),
    }
    try:
        lone, parallel = (
            core.compile_model(network, _DEVICE, {**options, "PERFORMANCE_HINT": hint})
            for hint in ("LATENCY", "THROUGHPUT")
        )
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot compile {model.manifest.name}: {error}") from error
    info = BackendInfo(
        name="openvino",
        version=ov.get_version(),
        device=f"{_DEVICE}: {core.get_property(_DEVICE, 'FULL_DEVICE_NAME')}",
        precision=effective(parallel, precision),
        channel_order="BGR",
    )
    return OpenVinoBackend(lone, parallel, info)


def precisions(model: StoredModel) -> tuple[str, ...]:
    """Return the precisions that the processor has and for which there is an IR, f32 first."""
    has = {
        "f32": True,
        # Asked for it, the engine may also imitate what the processor does not have.
        "bf16": "BF16" in ov.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"),
        "int8": model.ir_folder("int8").exists(),
    }
    return tuple(name for name in PRECISIONS if has[name])


def _with_image_input(network: ov.Model, model: StoredModel) -> ov.Model:
    """Make the network take one face as it is inside the server: NHWC BGR.

    The IR takes BGR too, so the channels stay as they are; the layout is converted by the compiled
    model itself.
    """
    size = model.manifest.input
    network.reshape([1, 3, size.height, size.width])
    processor = PrePostProcessor(network)
    processor.input().tensor().set_layout(ov.Layout("NHWC"))
    processor.input().model().set_layout(ov.Layout("NCHW"))
    return processor.build()
