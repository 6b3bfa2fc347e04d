"""A model being served: what reads its faces, runs it, and knows what it is."""

import math
from dataclasses import dataclass

import numpy as np

from face_embedding_models.manifest import License
from face_embedding_models.openvino.drift import Drift
from face_embedding_models.store.stored import Origin
from face_embedding_server import context
from face_embedding_server.faces import quality
from face_embedding_server.faces.detectors import Detection
from face_embedding_server.faces.face import Face
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import Pixels
from face_embedding_server.faces.quality import QualityWarning
from face_embedding_server.faces.reader import FaceReader, PreparedFace
from face_embedding_server.inference.backends import Backend, BackendInfo
from face_embedding_server.inference.embeddings import EmbeddingSpace, Vector
from face_embedding_server.inference.operating_points import (
    Calibration,
    OperatingPoint,
    unknown_operating_point,
)
from face_embedding_server.inference.turns import Turns


@dataclass(frozen=True)
class ModelInfo:
    """What a served model is.

    Args:
        name: the model's.
        model_version: of its weights and preprocessing.
        engine: what runs it.
        input_size: of an aligned face.
        space: of its embeddings.
        weights_sha256: the digest of its weights.
        origin: what is known of them.
        weights_note: the same in a sentence.
        license: their terms.
        detector: the name of what finds faces; empty where there is nothing.
        calibration: has the thresholds that have names; None where there is none.
        drift: how far the precision is from f32; None for f32 itself.
        precision_reason: why it is this one.
    """

    name: str
    model_version: str
    engine: BackendInfo
    input_size: ImageSize
    space: EmbeddingSpace
    weights_sha256: str
    origin: Origin
    weights_note: str
    license: License
    detector: str
    calibration: Calibration | None
    drift: Drift | None
    precision_reason: str

    @property
    def backend(self) -> str:
        """The name of what runs it."""
        return self.engine.name

    @property
    def precision(self) -> str:
        """The precision in effect."""
        return self.engine.precision


@dataclass(frozen=True)
class EmbeddedFace:
    """A face that was embedded.

    Args:
        raw: the raw embedding, float32 `[size]`.
        norm: its norm.
        detection: where the face is; None if the detector was not asked.
        warnings: what makes the embedding less trustworthy.
        faces_found: how many faces its photograph has; 0 if the detector was not asked.
    """

    raw: Vector
    norm: float
    detection: Detection | None
    warnings: list[QualityWarning]
    faces_found: int = 0


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
    info: ModelInfo

    def embed(self, face: Face) -> list[EmbeddedFace]:
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
        raw, norm = self.turns.run(self._infer, face.pixels_bgr)
        context.embedded(self.info.name, norm)
        found = quality.warnings(face.pixels_bgr, face.landmarks, norm, self.min_norm)
        warnings = [*found, *face.warnings]
        return EmbeddedFace(raw, norm, face.detection, warnings, face.faces_found)

    def _infer(self, face_bgr: Pixels) -> tuple[Vector, float]:
        """Return a raw embedding and its norm."""
        with context.stage(context.INFER):
            try:
                raw = self.backend.embed(face_bgr)
            except BaseException as error:
                if isinstance(error, Exception):
                    raise
                # Whatever it is to an engine, to a call it is a fault.
                raise RuntimeError(f"the engine raised {error!r}") from error
        norm = math.sqrt(np.dot(raw, raw)) if raw.shape == (self.space.size,) else math.nan
        if not 0 < norm < math.inf:
            raise ArithmeticError(
                f"the network gave an embedding of norm {norm} and shape {raw.shape}"
            )
        return raw, norm

    def operating_point(self, name: str) -> OperatingPoint:
        """Return an operating point of the calibration.

        Raises:
            Refusal: if there is no calibration, or it has none of that name.
        """
        if self.calibration is None:
            raise unknown_operating_point(name, "this server has no calibration")
        return self.calibration.get(name)
