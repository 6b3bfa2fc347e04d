"""Cosine similarities of embeddings."""

import numpy as np
from numpy.typing import NDArray

# As the server has it: a difference that is rounding is none.
_NEARLY_ONE = 1 - 1e-12


def cosines(one: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of an embedding, `[size]`, to each of others, `[others, size]`.

    It is never outside [-1, 1], 1 for embeddings that are equal or differ by rounding alone, and
    NaN for those of zero norm.
    """
    a, b = one.astype(np.float64), others.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        between: NDArray[np.float64] = (b * a).sum(axis=1)
        between /= np.sqrt((a * a).sum() * (b * b).sum(axis=1))
        return np.where(np.abs(between) > _NEARLY_ONE, np.sign(between), between)
