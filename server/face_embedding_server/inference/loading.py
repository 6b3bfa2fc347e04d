"""Loading a model from the store, and letting it prove itself before it answers."""

import numpy as np

from face_embedding_models.manifest import Parity
from face_embedding_models.openvino import drift, ir
from face_embedding_models.openvino.precision import GOLDEN_MIN_COSINE, REFERENCE
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store.stored import ORIGIN_NOTES, StoredModel
from face_embedding_server.faces.detectors import Detector
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import ImageReader
from face_embedding_server.faces.reader import FaceReader
from face_embedding_server.inference import agreement, backends, threads
from face_embedding_server.inference.backends import Backend, BackendError
from face_embedding_server.inference.embeddings import EmbeddingSpace
from face_embedding_server.inference.model import ModelInfo, ServedModel
from face_embedding_server.inference.operating_points import Calibration
from face_embedding_server.inference.turns import Turns
from face_embedding_server.settings import Settings


def load(
    stored: StoredModel,
    settings: Settings,
    detector: Detector | None,
    calibration: Calibration | None,
) -> ServedModel:
    """Load a stored model into the backend that the settings name, and let it prove itself.

    It embeds the sample faces, and what it gives is held against the golden embeddings.

    Raises:
        BackendError: if the backend cannot run it, or what it answers is not what it has to be.
        CalibrationError: if the calibration is of another embedding space.
        StoreError: if the model's files are missing or damaged.
    """
    size, output = stored.manifest.input, stored.manifest.output
    if calibration:
        calibration.check(stored.embedding_space)
    stored.check_weights()
    backend = backends.load(settings.backend, stored, settings.precision)
    _prove(stored, backend)
    info = _describe(stored, backend, detector, calibration)
    return ServedModel(
        reader=FaceReader(
            ImageSize(size.width, size.height),
            ImageReader(settings.max_encoded_bytes, settings.max_image_pixels),
            detector,
            settings.max_faces_per_request,
        ),
        backend=backend,
        turns=Turns(threads.turns()),
        space=info.space,
        version=stored.version,
        # The norms of made-up weights say nothing.
        min_norm=None if stored.origin == "synthetic" else output.min_norm,
        calibration=calibration,
        info=info,
    )


def _prove(stored: StoredModel, backend: Backend) -> None:
    """Check that a backend gives the golden embeddings of a model."""
    name, size = stored.manifest.name, stored.manifest.input
    faces = sample_faces(size.width, size.height)
    given = [backend.embed(face.pixels_bgr) for face in faces]
    shape, norm = given[0].shape, np.linalg.norm(given[0])
    if shape != (stored.manifest.output.size,) or not 0 < norm < np.inf:
        raise BackendError(
            f"{name} from {stored.source} gives no embedding of {stored.manifest.output.size} "
            f"values for a face: shape {list(shape)}, norm {norm}; are these its weights?"
        )
    precision = backend.info.precision
    tolerances = (
        stored.manifest.parity
        if precision == REFERENCE
        else Parity(GOLDEN_MIN_COSINE[precision], max_scaled_difference=np.inf)
    )
    golden = ir.read_golden(stored)
    names = [face.name for face in faces]
    comparison = agreement.compare(names, golden, np.stack(given), tolerances)
    if not comparison.passed:
        raise BackendError(
            f"{name} gives other embeddings of the sample faces than when it was converted: cosine "
            f"{comparison.min_cosine:.6f}, at least {tolerances.min_cosine} is expected; convert "
            f"it again, and check it with 'face-embedding-server parity'"
        )


def _describe(
    stored: StoredModel,
    backend: Backend,
    detector: Detector | None,
    calibration: Calibration | None,
) -> ModelInfo:
    known = stored.manifest
    return ModelInfo(
        name=known.name,
        model_version=stored.version,
        engine=backend.info,
        input_size=ImageSize(known.input.width, known.input.height),
        space=EmbeddingSpace(stored.embedding_space, known.output.size),
        weights_sha256=stored.weights_sha256,
        origin=stored.origin,
        weights_note=ORIGIN_NOTES[stored.origin],
        license=known.license,
        detector=detector.name if detector else "",
        operating_points=calibration.operating_points if calibration else (),
        drift=drift.read(stored, backend.info.precision),
    )
