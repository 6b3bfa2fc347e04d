"""Embeddings as numbers: normalising, checking and comparing them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.errors import Refusal

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingSpace:
    """A space of embeddings: its identifier and the number of values."""

    id: str
    size: int

    def message(self, raw: Vector, norm: float, normalization: pb.Normalization) -> pb.Embedding:
        """Return a raw embedding, float32 `[size]`, with its norm as a message."""
        values = raw if normalization == pb.NORMALIZATION_NONE else raw / np.float32(norm)
        return pb.Embedding(values=values.tolist(), norm=norm, space=self.id)

    def vector(self, stored: pb.Embedding) -> Vector:
        """Return a stored embedding's values, float32 `[size]`.

        Raises:
            Refusal: if it is of another space or length, not finite, or of zero norm.
        """
        if stored.space != self.id:
            raise Refusal(
                pb.ERROR_REASON_EMBEDDING_SPACE,
                f"the embedding is of the space '{stored.space}', this server's is '{self.id}'; "
                f"embeddings of different spaces cannot be compared, embed the face again",
                "space",
            )
        if len(stored.values) != self.size:
            raise _invalid(f"has {len(stored.values)} values, not {self.size}")
        values = np.array(stored.values, np.float32)
        if not np.isfinite(values).all():
            raise _invalid("holds a value that is not finite")
        if not values.any():
            raise _invalid("has zero norm")
        return values


def cosine_similarity(first: Vector, second: Vector) -> float:
    """Return the cosine of the angle between two vectors, in [-1, 1]."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(cosine, -1.0, 1.0))


def check_normalization(value: pb.Normalization) -> None:
    """Refuse a normalization that is not known."""
    if value not in pb.Normalization.values():
        raise Refusal(
            pb.ERROR_REASON_NORMALIZATION, f"{value} is not a Normalization", "normalization"
        )


def _invalid(what: str) -> Refusal:
    return Refusal(pb.ERROR_REASON_EMBEDDING_INVALID, f"the embedding {what}", "values")
