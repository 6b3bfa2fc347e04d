"""Cosine similarities of embeddings, row by row."""

import numpy as np
from numpy.typing import NDArray


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each row of one array to that of another, both `[rows, size]`, no zero.

    It is never outside [-1, 1], and 1 for equal rows: the square root of a number's square is that
    number, which the product of two roots is not.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    between: NDArray[np.float64] = np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)
    return between
