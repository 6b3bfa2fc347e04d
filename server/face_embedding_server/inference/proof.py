"""A loaded model proves itself: on faces that were drawn for it, it answers as it did when made."""

import numpy as np

from face_embedding_models import meaning
from face_embedding_models.errors import MeaninglessError
from face_embedding_models.manifest import Parity
from face_embedding_models.openvino import drift, ir
from face_embedding_models.openvino.drift import Drift
from face_embedding_models.openvino.precision import (
    DRIFT_THRESHOLD,
    GOLDEN_MIN_COSINE,
    REFERENCE,
)
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.inference import agreement
from face_embedding_server.inference.backends import Backend, BackendError


def prove(stored: StoredModel, backend: Backend) -> Drift | None:
    """Hold what a backend gives for the sample faces against the golden embeddings of a model.

    Returns:
        How far the precision is from f32: as it was measured and kept with the model, or else on
        the sample faces, which also go before what was measured on a few that came off better;
        None for f32 itself.

    Raises:
        BackendError: if it gives something else than it has to, or what means nothing.
        StoreError: if the golden embeddings, or the drift that was kept, are damaged.
    """
    name, size = stored.manifest.name, stored.manifest.input
    faces = sample_faces(size.width, size.height)
    given = [backend.embed(face.pixels_bgr) for face in faces]
    shape, norm = given[0].shape, np.linalg.norm(given[0])
    if shape != (stored.manifest.output.size,) or not 0 < norm < np.inf:
        raise BackendError(
            f"{name} from {stored.source} gives no embedding of {stored.manifest.output.size} "
            f"values for a face: shape {list(shape)}, norm {norm}; are these its weights?"
        )
    precision, golden = backend.info.precision, ir.read_golden(stored)
    tolerances = (
        stored.manifest.parity
        if precision == REFERENCE
        else Parity(GOLDEN_MIN_COSINE[precision], max_scaled_difference=np.inf)
    )
    names = [face.name for face in faces]
    comparison = agreement.compare(names, golden, np.stack(given), tolerances)
    if not comparison.passed:
        raise BackendError(
            f"{name} gives other embeddings of the sample faces than when it was converted: cosine "
            f"{comparison.min_cosine:.6f}, at least {tolerances.min_cosine} is expected; convert "
            f"it again, and check it with 'face-embedding-server parity'"
        )
    try:
        # An earlier version of this program may have put it to use.
        meaning.check(names, golden)
        if not ir.is_checked(stored):
            meaning.check_sight(backend.embed, size.width, size.height)
    except MeaninglessError as error:
        raise BackendError(
            f"{name} {stored.version} from {stored.source} is not served: {error}; import other "
            f"weights, or go back to another version with 'face-embedding-server models use'"
        ) from error
    if precision == REFERENCE:
        return None
    kept = drift.read(stored, precision)
    if kept and kept.faces >= drift.MIN_FACES:
        return kept
    drawn = drift.drift_of(
        golden.astype(np.float64), np.stack(given).astype(np.float64), DRIFT_THRESHOLD
    )
    return min(kept or drawn, drawn, key=lambda each: each.min_cosine)
