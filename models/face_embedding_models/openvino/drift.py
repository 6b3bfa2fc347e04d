"""How far the embeddings of a precision are from those at f32, measured on faces."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from face_embedding_models.errors import DriftError
from face_embedding_models.openvino import ir
from face_embedding_models.openvino.precision import PRECISIONS, REFERENCE, effective
from face_embedding_models.openvino.running import compile_for, embed
from face_embedding_models.similarity import comparable, cosines
from face_embedding_models.store import parts, records, sealed
from face_embedding_models.store.stored import StoredModel

# Fewer say less of other faces than the drawn ones do with which every model proves itself.
MIN_FACES = 8

Face = NDArray[np.uint8]
Embeddings = NDArray[np.float64]
# As the contract has them.
_Number: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 32)]


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

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    faces: _Number
    min_cosine: float
    mean_cosine: float
    pairs: _Number
    max_score_change: float
    flipped_decisions: _Number
    threshold: float


@dataclass(frozen=True)
class _Record:
    of: dict[str, str]
    drift: Drift


def measure(
    model: StoredModel, precision: str, faces_bgr: Sequence[Face], threshold: float
) -> Drift:
    """Measure the drift of a precision from f32, and keep it with the model.

    Args:
        model: the model, with the IR that the precision runs.
        precision: one of `PRECISIONS`, but f32.
        faces_bgr: aligned faces, uint8 HWC BGR.
        threshold: the cosine similarity at which decisions are compared.

    Raises:
        DriftError: if there is no face, the threshold is not in [-1, 1], this machine does not run
            the precision, or a face has no embedding that can be compared.
        StoreError: if an IR is missing or damaged, or the store cannot be written.
    """
    if precision not in PRECISIONS or precision == REFERENCE:
        known = ", ".join(name for name in PRECISIONS if name != REFERENCE)
        raise DriftError(f"'{precision}' is not a precision that can drift; these are: {known}")
    if not faces_bgr:
        raise DriftError("drift is measured on faces, and there is none")
    check_threshold(threshold)
    reference, candidate = (_embed(model, each, faces_bgr) for each in (REFERENCE, precision))
    drift = drift_of(reference, candidate, threshold)
    record = {"of": _files(model, precision), "drift": asdict(drift)}
    with parts.changing(model.folder) as pending:
        sealed.write(pending / model.drift_folder(precision).name, lambda _: None, record)
    return drift


def read(model: StoredModel, precision: str) -> Drift | None:
    """Return the drift that was measured for a precision, if it was, of the IR that is there now.

    Raises:
        StoreError: if the record is damaged.
    """
    folder = model.drift_folder(precision)
    if not folder.exists():
        return None
    path, remedy = folder / sealed.RECORD_FILE, "measure the drift again"
    record = records.checked(_Record, sealed.read_record(folder), path, remedy)
    return record.drift if record.of == _files(model, precision) else None


def drift_of(reference: Embeddings, candidate: Embeddings, threshold: float) -> Drift:
    """Compare two sets of embeddings of the same faces, each `[faces, size]`."""
    to_itself = cosines(reference, candidate)
    pairs = np.array(list(itertools.combinations(range(len(reference)), 2)), np.intp).reshape(-1, 2)
    before, after = (
        cosines(set_[pairs[:, 0]], set_[pairs[:, 1]]) for set_ in (reference, candidate)
    )
    return Drift(
        faces=len(reference),
        min_cosine=float(to_itself.min()),
        mean_cosine=float(to_itself.mean()),
        pairs=len(pairs),
        max_score_change=float(np.abs(after - before).max(initial=0)),
        flipped_decisions=int(((before >= threshold) != (after >= threshold)).sum()),
        threshold=threshold,
    )


def few_words(drift: Drift) -> str:
    """Return what so few faces do not say, in a sentence; nothing if there are enough."""
    if drift.faces >= MIN_FACES:
        return ""
    return (
        f"{drift.faces} faces are too few to say how far others drift, and --precision auto does "
        f"not rely on them alone; give at least {MIN_FACES}, better hundreds"
    )


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is no cosine similarity."""
    if not -1 <= threshold <= 1:
        raise DriftError(f"the threshold {threshold} is not a cosine similarity, -1 to 1")


def _files(model: StoredModel, precision: str) -> dict[str, str]:
    """Return the digests of the files that the precision runs; none if they are not there."""
    folder = model.ir_folder(PRECISIONS[precision].ir)
    files: dict[str, str] = sealed.read_record(folder)["files"] if folder.exists() else {}
    return files


def _embed(model: StoredModel, precision: str, faces_bgr: Sequence[Face]) -> Embeddings:
    chosen = PRECISIONS[precision]
    compiled = compile_for(ir.read(model, chosen.ir), chosen.hint)
    if (runs := effective(compiled, precision)) != precision:
        raise DriftError(f"this machine's processor runs the model at {runs}, not at {precision}")
    embeddings = embed(compiled, faces_bgr).astype(np.float64)
    if bad := (np.flatnonzero(~comparable(embeddings)) + 1).tolist():
        raise DriftError(
            f"the embeddings of {len(bad)} of {len(faces_bgr)} faces at {precision} are zero or "
            f"not finite, the first that of face {bad[0]} in the order of names: "
            f"leave those out, or mend the network"
        )
    return embeddings
