"""Cosine similarities of embeddings, row by row."""

import numpy as np
from numpy.typing import NDArray

# Values of float32 are off by 2^-24 at most, and by an engine's rounding some times that; the
# cosine by half of the square. What is above it is not another face.
NEARLY_ONE = 1 - 1e-12


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each row of one array to that of another, both `[rows, size]`, no zero.

    It is never outside [-1, 1], and 1 for rows that are equal or differ by rounding alone.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    between: NDArray[np.float64] = (a * b).sum(axis=1) / lengths
    return np.where(np.abs(between) > NEARLY_ONE, np.sign(between), between)


def comparable(embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which embeddings have a cosine to others, `[rows]`: they are finite, and not zero.

    Args:
        embeddings: `[rows, size]`.
    """
    found: NDArray[np.bool_] = np.isfinite(embeddings).all(axis=1) & embeddings.any(axis=1)
    return found
