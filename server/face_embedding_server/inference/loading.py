"""Loading a model from the store, and letting it prove itself before it answers."""

from face_embedding_models.openvino.drift import Drift
from face_embedding_models.store.stored import ORIGIN_NOTES, StoredModel
from face_embedding_server.faces.detectors import Detector
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import ImageReader
from face_embedding_server.faces.reader import FaceReader
from face_embedding_server.inference import backends, choosing, proof, threads
from face_embedding_server.inference.backends import Backend
from face_embedding_server.inference.choosing import Choice
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

    It embeds the sample faces, and what it gives is held against the golden embeddings. If the
    precision is left to the server, all that the model has are measured before.

    Raises:
        BackendError: if the backend cannot run it, or what it answers is not what it has to be.
        CalibrationError: if the calibration is of another embedding space.
        StoreError: if the model's files are missing or damaged.
    """
    size, output = stored.manifest.input, stored.manifest.output
    if calibration:
        calibration.check(stored.embedding_space)
    stored.check_weights()
    choice = choosing.choose(stored, settings)
    backend = backends.load(settings.backend, stored, choice.precision)
    drift = proof.prove(stored, backend)
    info = _describe(stored, backend, choice, drift, detector, calibration)
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


def _describe(
    stored: StoredModel,
    backend: Backend,
    choice: Choice,
    drift: Drift | None,
    detector: Detector | None,
    calibration: Calibration | None,
) -> ModelInfo:
    known, runs = stored.manifest, backend.info.precision
    other = f"{choice.precision} was asked for, which this processor runs at {runs}"
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
        calibration=calibration,
        drift=drift,
        precision_reason=choice.reason if runs == choice.precision else other,
    )
