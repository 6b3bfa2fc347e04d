"""Embeddings as numbers: normalising, checking and comparing them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.similarity import NEARLY_ONE
from face_embedding_models.texts import clipped
from face_embedding_server.errors import Reason, Refusal

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingSpace:
    """A space of embeddings: its identifier and the number of values."""

    id: str
    size: int

    def vector(self, space: str, given: Sequence[float]) -> Vector:
        """Return a stored embedding's values, float32 `[size]`.

        Args:
            space: the identifier of its space.
            given: its values.

        Raises:
            Refusal: if it is of another space or length, not finite, or of zero norm.
        """
        if space != self.id:
            raise Refusal(
                Reason.EMBEDDING_SPACE,
                f"the embedding is of the space '{clipped(space)}', this server's is '{self.id}'; "
                f"embeddings of different spaces cannot be compared, embed the face again",
                "space",
            )
        if len(given) != self.size:
            raise _invalid(f"has {len(given)} values, not {self.size}")
        values = np.array(given, np.float32)
        if not np.isfinite(values).all():
            raise _invalid("holds a value that is not finite")
        if not values.any():
            raise _invalid("has zero norm")
        return values


def cosine_similarity(first: Vector, second: Vector) -> float:
    """Return the cosine of the angle between two vectors, in [-1, 1].

    It is 1 if they are equal or differ by rounding alone, as a stored embedding of length 1 does
    from the raw one of its image, and NaN if one is zero or not finite.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    return math.copysign(1.0, cosine) if abs(cosine) > NEARLY_ONE else cosine


def _invalid(what: str) -> Refusal:
    return Refusal(Reason.EMBEDDING_INVALID, f"the embedding {what}", "values")
