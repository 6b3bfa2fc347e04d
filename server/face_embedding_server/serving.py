"""A model being served, and the host that requests find it through."""

from dataclasses import asdict, dataclass

import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models import drift
from face_embedding_models.store import ORIGIN_NOTES, StoredModel
from face_embedding_server import backends, calibration, detectors, quality
from face_embedding_server.backends import Backend, BackendError
from face_embedding_server.calibration import Calibration, OperatingPoint
from face_embedding_server.detectors import Detection, Detector
from face_embedding_server.embeddings import EmbeddingSpace, Vector
from face_embedding_server.errors import Refusal
from face_embedding_server.faces import FaceReader, PreparedFace
from face_embedding_server.image_headers import ImageSize
from face_embedding_server.images import ImageReader
from face_embedding_server.sample_faces import sample_faces
from face_embedding_server.settings import Settings

_CHANNEL_ORDERS = {"RGB": pb.CHANNEL_ORDER_RGB, "BGR": pb.CHANNEL_ORDER_BGR}
_ORIGINS = {
    "published": pb.WEIGHTS_ORIGIN_PUBLISHED,
    "unverified": pb.WEIGHTS_ORIGIN_UNVERIFIED,
    "synthetic": pb.WEIGHTS_ORIGIN_SYNTHETIC,
}


@dataclass(frozen=True)
class EmbeddedFace:
    """A face that was embedded.

    Args:
        raw: the raw embedding, float32 `[size]`.
        detection: where the face is; None if the detector was not asked.
        warnings: what makes the embedding less trustworthy.
    """

    raw: Vector
    detection: Detection | None
    warnings: list[pb.Warning]


@dataclass(frozen=True)
class ServedModel:
    """A model that answers requests: how its faces are read, what runs it, and its space."""

    reader: FaceReader
    backend: Backend
    space: EmbeddingSpace
    min_norm: float | None
    calibration: Calibration | None
    info: pb.GetModelInfoResponse

    def embed(self, face: pb.Face) -> list[EmbeddedFace]:
        """Embed what a request's face stands for: one face, unless all were asked for.

        Raises:
            Refusal: if the face cannot be embedded.
        """
        return [self._embed(prepared) for prepared in self.reader.read(face)]

    def _embed(self, face: PreparedFace) -> EmbeddedFace:
        raw = self.backend.embed(face.pixels_bgr)
        norm = float(np.linalg.norm(raw))
        found = quality.warnings(face.pixels_bgr, face.landmarks, norm, self.min_norm)
        return EmbeddedFace(raw, face.detection, found)

    def operating_point(self, name: str) -> OperatingPoint:
        """Return an operating point of the calibration.

        Raises:
            Refusal: if there is no calibration, or it has none of that name.
        """
        if self.calibration is None:
            raise calibration.unknown_operating_point(name, "this server has no calibration")
        return self.calibration.get(name)


class ModelHost:
    """Knows which model answers a request; there is none while it loads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._model: ServedModel | None = None

    def serve(self, model: ServedModel) -> None:
        """Let requests reach the model."""
        self._model = model

    def get(self, name: str) -> ServedModel:
        """Return the model for a request, by the name in it, which may be empty.

        Raises:
            Refusal: if it is not served here, or not loaded yet.
        """
        if name not in ("", self._name):
            raise Refusal(
                pb.ERROR_REASON_MODEL_UNKNOWN,
                f"this server serves '{self._name}', not '{name}'",
                "model",
            )
        if self._model is None:
            raise Refusal(
                pb.ERROR_REASON_MODEL_LOADING,
                f"{self._name} is being loaded; try again when the health service says SERVING",
            )
        return self._model


def load(stored: StoredModel, settings: Settings) -> ServedModel:
    """Load a stored model into the backend that the settings name, and let it answer once.

    Raises:
        BackendError: if the backend cannot run it, or what it answers is no embedding.
        DetectorError: if the detector cannot be loaded.
        CalibrationError: if the calibration cannot be used.
        StoreError: if the model's files are missing or damaged.
    """
    size, output = stored.manifest.input, stored.manifest.output
    detector = detectors.load(settings.detector, settings.detector_model)
    operating_points = (
        calibration.read(settings.calibration, stored.embedding_space)
        if settings.calibration
        else None
    )
    backend = backends.load(settings.backend, stored, settings.precision)
    embedding = backend.embed(sample_faces(size.width, size.height)[0].pixels_bgr)
    if embedding.shape != (output.size,) or not 0 < np.linalg.norm(embedding) < np.inf:
        raise BackendError(
            f"{stored.manifest.name} from {stored.source} gives no embedding of {output.size} "
            f"values for a face: shape {list(embedding.shape)}, norm {np.linalg.norm(embedding)}; "
            f"are these its weights?"
        )
    return ServedModel(
        reader=FaceReader(
            ImageSize(size.width, size.height),
            ImageReader(settings.max_encoded_bytes, settings.max_image_pixels),
            detector,
            settings.max_faces_per_request,
        ),
        backend=backend,
        space=EmbeddingSpace(stored.embedding_space, output.size),
        # The norms of made-up weights say nothing.
        min_norm=None if stored.origin == "synthetic" else output.min_norm,
        calibration=operating_points,
        info=_describe(stored, backend, settings, detector, operating_points),
    )


def _describe(
    stored: StoredModel,
    backend: Backend,
    settings: Settings,
    detector: Detector | None,
    calibrated: Calibration | None,
) -> pb.GetModelInfoResponse:
    manifest, engine = stored.manifest, backend.info
    drifted = drift.read(stored, engine.precision)
    return pb.GetModelInfoResponse(
        name=manifest.name,
        backend=engine.name,
        backend_version=engine.version,
        device=engine.device,
        precision=engine.precision,
        channel_order=_CHANNEL_ORDERS[engine.channel_order],
        input_width=manifest.input.width,
        input_height=manifest.input.height,
        embedding_size=manifest.output.size,
        embedding_space=stored.embedding_space,
        weights_sha256=stored.weights_sha256,
        weights_origin=_ORIGINS[stored.origin],
        weights_note=ORIGIN_NOTES[stored.origin],
        license_note=manifest.published.license_note,
        limits=pb.Limits(
            max_faces_per_request=settings.max_faces_per_request,
            max_message_bytes=settings.max_message_bytes,
            max_encoded_bytes=settings.max_encoded_bytes,
            max_stream_in_flight=settings.max_stream_in_flight,
            max_image_pixels=settings.max_image_pixels,
        ),
        detector=detector.name if detector else "",
        operating_points=[
            pb.OperatingPoint(**asdict(point))
            for point in (calibrated.operating_points if calibrated else ())
        ],
        drift=pb.Drift(**asdict(drifted)) if drifted else None,
    )
