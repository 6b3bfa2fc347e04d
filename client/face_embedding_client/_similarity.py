"""Cosine similarities of embeddings."""

import numpy as np
from numpy.typing import NDArray


def cosines(one: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of an embedding, `[size]`, to each of others, `[others, size]`.

    It is never outside [-1, 1], 1 for equal embeddings, and NaN for those of zero norm: the square
    root of a number's square is that number, which the product of two roots is not.
    """
    a, b = one.astype(np.float64), others.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        between: NDArray[np.float64] = (b * a).sum(axis=1)
        between /= np.sqrt((a * a).sum() * (b * b).sum(axis=1))
        return np.clip(between, -1.0, 1.0)
