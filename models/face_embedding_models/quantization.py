"""int8 IR by post-training quantization, and how far its embeddings drift from f32.

NNCF, OpenVINO's own quantizer, chooses the scales from the activations that calibration faces give
rise to.
"""

import importlib
import itertools
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from face_embedding_models import ir, sealed
from face_embedding_models.errors import QuantizationError, StoreError
from face_embedding_models.store import StoredModel

PRECISION = "int8"
# Fewer give scales that fit these faces and no others.
MIN_FACES = 8
DEFAULT_THRESHOLD = 0.4

Face = NDArray[np.uint8]
Embeddings = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far one precision is from another on the same faces.

    Args:
        faces: the number of faces.
        min_cosine: the smallest cosine similarity of a face's two embeddings.
        mean_cosine: the mean of the same.
        pairs: the number of pairs of faces.
        max_score_change: the largest change of the cosine similarity of a pair.
        flipped_decisions: the number of pairs that change sides of the threshold.
        threshold: the cosine similarity from which two faces match.
    """

    faces: int
    min_cosine: float
    mean_cosine: float
    pairs: int
    max_score_change: float
    flipped_decisions: int
    threshold: float


def quantize(model: StoredModel, faces_bgr: Sequence[Face], threshold: float) -> Drift:
    """Make an int8 IR of a model in the store from its f32 IR.

    Args:
        model: the model, converted.
        faces_bgr: aligned faces to calibrate with, uint8 HWC BGR; their mirror images are used too.
        threshold: the cosine similarity at which decisions are compared.

    Returns:
        The drift on these faces, which is kept with the IR.

    Raises:
        QuantizationError: if there are too few faces, the threshold is not in [-1, 1], or NNCF is
            not installed.
        StoreError: if there is no f32 IR, or the store cannot be written.
    """
    if len(faces_bgr) < MIN_FACES:
        raise QuantizationError(
            f"{len(faces_bgr)} faces are too few to calibrate with; give at least {MIN_FACES} "
            f"aligned faces, better hundreds, like those that will be embedded"
        )
    if not -1 <= threshold <= 1:
        raise QuantizationError(f"the threshold {threshold} is not a cosine similarity, -1 to 1")
    nncf = _import_nncf()
    reference = ir.read(model)
    inputs = [_as_input(face) for face in faces_bgr]
    mirrored = [face[..., ::-1].copy() for face in inputs]
    calibration = nncf.Dataset([*inputs, *mirrored])
    network = nncf.quantize(reference.clone(), calibration, subset_size=2 * len(inputs))
    drift = drift_of(_embed(reference, inputs), _embed(network, inputs), threshold)
    record = {"nncf": nncf.__version__, "drift": asdict(drift)}
    ir.save(network, model, PRECISION, record)
    return drift


def read_drift(model: StoredModel, precision: str) -> Drift | None:
    """Return the drift that was measured when the IR of a precision was made, if it was.

    Raises:
        StoreError: if the record of the IR is damaged.
    """
    folder = model.ir_folder(precision)
    if not folder.exists():
        return None
    drift = sealed.read_record(folder).get("drift")
    if drift is None:
        return None
    try:
        return Drift(**drift)
    except TypeError as error:
        path = folder / sealed.RECORD_FILE
        raise StoreError(f"{path} is damaged: its drift cannot be read: {error}") from error


def drift_of(reference: Embeddings, candidate: Embeddings, threshold: float) -> Drift:
    """Compare two sets of embeddings of the same faces, each `[faces, size]`."""
    one, other = _normalized(reference), _normalized(candidate)
    cosines = (one * other).sum(axis=1)
    pairs = np.array(list(itertools.combinations(range(len(one)), 2)), np.intp).reshape(-1, 2)
    before, after = ((set_[pairs[:, 0]] * set_[pairs[:, 1]]).sum(axis=1) for set_ in (one, other))
    return Drift(
        faces=len(one),
        min_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        pairs=len(pairs),
        max_score_change=float(np.abs(after - before).max(initial=0)),
        flipped_decisions=int(((before >= threshold) != (after >= threshold)).sum()),
        threshold=threshold,
    )


def _import_nncf() -> Any:
    try:
        nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise QuantizationError(
            f"NNCF cannot be imported ({error}); install it with "
            f"pip install 'face-embedding[server,quantize]'"
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def _as_input(face_bgr: Face) -> NDArray[np.float32]:
    """Return a face as the IR takes it: float32 `[1, 3, height, width]`, BGR, 0 to 255."""
    return face_bgr.transpose(2, 0, 1)[np.newaxis].astype(np.float32)


def _embed(network: ov.Model, inputs: Sequence[NDArray[np.float32]]) -> Embeddings:
    compiled = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    embeddings: Embeddings = np.concatenate(
        [compiled(face)[0] for face in inputs], dtype=np.float64
    )
    return embeddings


def _normalized(embeddings: Embeddings) -> Embeddings:
    unit: Embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit
