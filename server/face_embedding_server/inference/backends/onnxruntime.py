"""ONNX Runtime: runs an ONNX file as it came. The reference of that format."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.onnx import form
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.faces.images import Pixels
from face_embedding_server.inference.backends import (
    BackendError,
    BackendInfo,
    check_reference,
    network_input,
)
from face_embedding_server.inference.threads import available_cpus

_PROVIDER = "CPUExecutionProvider"
# Fatal: what goes wrong is raised, and said once.
_LOG_SEVERITY = 4


class OnnxRuntimeBackend:
    """A session, which runs for any number of threads at once."""

    def __init__(self, model: StoredModel) -> None:
        engine = importlib.import_module("onnxruntime")
        given = model.manifest.input
        self._mean, self._scale = np.float32(given.mean), np.float32(given.scale)
        options = engine.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.log_severity_level = _LOG_SEVERITY
        data = form.at_f32(model.read_onnx_file())
        try:
            self._session = engine.InferenceSession(data, options, providers=[_PROVIDER])
            (self._input,) = (each.name for each in self._session.get_inputs())
            self._output = model.manifest.output.name or self._session.get_outputs()[0].name
        except Exception as error:
            # Its exceptions share no base.
            raise _failure(model, error) from error
        self.info = BackendInfo(
            "onnxruntime", engine.__version__, _PROVIDER, "f32", given.channel_order
        )
        try:
            self.embed(np.zeros((given.height, given.width, 3), np.uint8))
        except Exception as error:
            raise _failure(model, error) from error

    def embed(self, face_bgr: Pixels) -> NDArray[np.float32]:
        """Embed one face; see `Backend.embed`."""
        pixels = network_input(face_bgr, self.info.channel_order)
        data = (pixels - self._mean) / self._scale
        outputs: list[Any] = self._session.run([self._output], {self._input: data})
        embedding: NDArray[np.float32] = outputs[0][0]
        return embedding

    def close(self) -> None:
        """Let go of the engine; see `Backend.close`."""


def load(model: StoredModel, precision: str) -> OnnxRuntimeBackend:
    """Load the model's ONNX file; see `backends.load`."""
    check_reference("onnxruntime", model, precision)
    return OnnxRuntimeBackend(model)


def precisions(_: StoredModel) -> tuple[str, ...]:
    """Return the only precision of a reference; see `backends.precisions`."""
    return ("f32",)


def _failure(model: StoredModel, error: Exception) -> BackendError:
    lines = str(error).strip().splitlines()
    reason = lines[0][:300] if lines else type(error).__name__
    return BackendError(f"ONNX Runtime cannot run {model.manifest.name}: {reason}")
