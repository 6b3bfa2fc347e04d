"""Whether two sets of embeddings of the same faces agree, within the tolerances of a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.manifest import Parity
from face_embedding_server.inference.embeddings import cosine_similarity

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class FaceDifference:
    """How far two raw embeddings of one face are apart."""

    name: str
    cosine: float
    max_abs_difference: float
    scaled_difference: float


@dataclass(frozen=True)
class Comparison:
    """How far two backends are apart on a set of faces, held against tolerances."""

    faces: tuple[FaceDifference, ...]
    tolerances: Parity

    @property
    def min_cosine(self) -> float:
        """The smallest cosine of any face."""
        # NumPy's, unlike Python's, does not lose a NaN.
        return float(np.min([face.cosine for face in self.faces]))

    @property
    def max_abs_difference(self) -> float:
        """The largest absolute difference of any value of any face."""
        return float(np.max([face.max_abs_difference for face in self.faces]))

    @property
    def max_scaled_difference(self) -> float:
        """The same in units of the root mean square of the reference embedding."""
        return float(np.max([face.scaled_difference for face in self.faces]))

    @property
    def passed(self) -> bool:
        """Whether every face is within the tolerances."""
        return (
            self.min_cosine >= self.tolerances.min_cosine
            and self.max_scaled_difference <= self.tolerances.max_scaled_difference
        )


def compare(
    names: Sequence[str], reference: Embeddings, candidate: Embeddings, tolerances: Parity
) -> Comparison:
    """Compare raw embeddings, each `[faces, size]`."""
    return Comparison(tuple(map(_difference, names, reference, candidate)), tolerances)


def _difference(
    name: str, reference: NDArray[np.float32], candidate: NDArray[np.float32]
) -> FaceDifference:
    difference = float(np.abs(reference - candidate).max())
    scale = float(np.sqrt(np.mean(np.square(reference))))
    cosine = cosine_similarity(reference, candidate)
    return FaceDifference(name, cosine, difference, difference / scale)
