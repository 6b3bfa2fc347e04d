"""Running an IR as it is."""

from collections.abc import Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from face_embedding_models import meaning
from face_embedding_models.manifest import Input
from face_embedding_models.sample_faces import sample_faces

Embeddings = NDArray[np.float32]


def compile_for(network: ov.Model, hint: str) -> ov.CompiledModel:
    """Compile an IR as it is, for the type that is asked of the engine."""
    return ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": hint})


def embed(compiled: ov.CompiledModel, faces_bgr: Sequence[NDArray[np.uint8]]) -> Embeddings:
    """Embed aligned faces, uint8 HWC BGR; return the raw embeddings, float32 `[faces, size]`."""
    embeddings: Embeddings = np.concatenate([compiled(as_input(face))[0] for face in faces_bgr])
    return embeddings


def embed_samples(compiled: ov.CompiledModel, size: Input) -> Embeddings:
    """Embed the sample faces of a size; return the raw embeddings, if they can mean anything.

    Raises:
        MeaninglessError: if they cannot; see `meaning`.
    """
    faces = sample_faces(size.width, size.height)
    embeddings = embed(compiled, [face.pixels_bgr for face in faces])
    meaning.check([face.name for face in faces], embeddings)
    meaning.check_sight(lambda face: embed(compiled, [face])[0], size.width, size.height)
    return embeddings


def as_input(face_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a face, uint8 HWC BGR, as the IR takes it: float32 `[1, 3, height, width]`."""
    return face_bgr.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
