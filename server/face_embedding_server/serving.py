"""A model being served: what reads its faces, runs it, and describes it."""

import sys
from dataclasses import asdict, dataclass

import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models import drift, ir
from face_embedding_models.manifest import License, Parity
from face_embedding_models.precision import GOLDEN_MIN_COSINE, REFERENCE
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.stored import ORIGIN_NOTES, StoredModel
from face_embedding_server import backends, parity, quality
from face_embedding_server.backends import Backend, BackendError, Pixels
from face_embedding_server.calibration import (
    Calibration,
    OperatingPoint,
    unknown_operating_point,
)
from face_embedding_server.detectors import Detection, Detector
from face_embedding_server.embeddings import EmbeddingSpace, Vector
from face_embedding_server.faces import FaceReader, PreparedFace
from face_embedding_server.image_headers import ImageSize
from face_embedding_server.images import ImageReader
from face_embedding_server.machine import available_cpus
from face_embedding_server.settings import Settings
from face_embedding_server.telemetry import current
from face_embedding_server.turns import Turns

# Each of the engine's streams has one face in work, one next, and some in reserve.
_TURNS_PER_CPU = 4
_CHANNEL_ORDERS = {"RGB": pb.CHANNEL_ORDER_RGB, "BGR": pb.CHANNEL_ORDER_BGR}
_ORIGINS = {
    "published": pb.WEIGHTS_ORIGIN_PUBLISHED,
    "corroborated": pb.WEIGHTS_ORIGIN_CORROBORATED,
    "unverified": pb.WEIGHTS_ORIGIN_UNVERIFIED,
    "synthetic": pb.WEIGHTS_ORIGIN_SYNTHETIC,
}


@dataclass(frozen=True)
class EmbeddedFace:
    """A face that was embedded.

    Args:
        raw: the raw embedding, float32 `[size]`.
        norm: its norm.
        detection: where the face is; None if the detector was not asked.
        warnings: what makes the embedding less trustworthy.
    """

    raw: Vector
    norm: float
    detection: Detection | None
    warnings: list[pb.Warning]


@dataclass(frozen=True)
class ServedModel:
    """A model that answers requests: how its faces are read, what runs it, and its space."""

    reader: FaceReader
    backend: Backend
    turns: Turns
    space: EmbeddingSpace
    version: str
    min_norm: float | None
    calibration: Calibration | None
    info: pb.GetModelInfoResponse

    def embed(self, face: pb.Face) -> list[EmbeddedFace]:
        """Embed what a request's face stands for: one face, unless all were asked for.

        Raises:
            Refusal: if the face cannot be embedded.
        """
        return [self.embed_prepared(prepared) for prepared in self.reader.read(face)]

    def embed_prepared(self, face: PreparedFace) -> EmbeddedFace:
        """Embed an aligned face.

        Raises:
            Refusal: if nobody waits for it any more when it is its turn.
            ArithmeticError: if it cannot be normalized, which no working network gives rise to.
        """
        raw = self.turns.run(self._infer, face.pixels_bgr)
        norm = float(np.linalg.norm(raw))
        if not 0 < norm < np.inf:
            raise ArithmeticError(f"the network gave an embedding of norm {norm}")
        current.embedded(self.info.name, norm)
        found = quality.warnings(face.pixels_bgr, face.landmarks, norm, self.min_norm)
        return EmbeddedFace(raw, norm, face.detection, found)

    def _infer(self, face_bgr: Pixels) -> Vector:
        with current.stage(current.INFER):
            return self.backend.embed(face_bgr)

    def operating_point(self, name: str) -> OperatingPoint:
        """Return an operating point of the calibration.

        Raises:
            Refusal: if there is no calibration, or it has none of that name.
        """
        if self.calibration is None:
            raise unknown_operating_point(name, "this server has no calibration")
        return self.calibration.get(name)


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
    backend = backends.load(settings.backend, stored, settings.precision)
    _prove(stored, backend)
    return ServedModel(
        reader=FaceReader(
            ImageSize(size.width, size.height),
            ImageReader(settings.max_encoded_bytes, settings.max_image_pixels),
            detector,
            settings.max_faces_per_request,
        ),
        backend=backend,
        turns=Turns(_TURNS_PER_CPU * available_cpus()),
        space=EmbeddingSpace(stored.embedding_space, output.size),
        version=stored.version,
        # The norms of made-up weights say nothing.
        min_norm=None if stored.origin == "synthetic" else output.min_norm,
        calibration=calibration,
        info=_describe(stored, backend, settings, detector, calibration),
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
        else Parity(GOLDEN_MIN_COSINE[precision], max_scaled_difference=sys.float_info.max)
    )
    golden = ir.read_golden(stored)
    comparison = parity.compare([face.name for face in faces], golden, np.stack(given), tolerances)
    if not comparison.passed:
        raise BackendError(
            f"{name} gives other embeddings of the sample faces than when it was converted: cosine "
            f"{comparison.min_cosine:.6f}, at least {tolerances.min_cosine} is expected; convert "
            f"it again, and check it with 'face-embedding-server parity'"
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
        model_version=stored.version,
        weights_sha256=stored.weights_sha256,
        weights_origin=_ORIGINS[stored.origin],
        weights_note=ORIGIN_NOTES[stored.origin],
        license_note=_license_note(manifest.license),
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


def _license_note(terms: License) -> str:
    return f"{terms.name}: {terms.terms}" + (f" ({terms.stated_at})" if terms.stated_at else "")
