"""The accuracy of pairs in folds: each fold is decided at the threshold that the others choose."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face_embedding_server.evaluation.metrics import Same, Scores, check

Folds = NDArray[np.intp]

# InsightFace's: squared distances of normalised embeddings.
_THRESHOLDS = np.arange(0, 4, 0.01)


@dataclass(frozen=True)
class FoldAccuracy:
    """The accuracy by the protocol of LFW.

    Args:
        folds: their number.
        mean: the mean of the accuracies of the folds, 0 to 1.
        std: their standard deviation, that of a population.
        thresholds: for each fold, the one that the others chose: a squared distance, 0 to 4, and
            not a cosine similarity.
    """

    folds: int
    mean: float
    std: float
    thresholds: tuple[float, ...]


def ten_fold_accuracy(scores: Scores, same: Same, folds: int | Folds = 10) -> FoldAccuracy:
    """Return the accuracy by the protocol of LFW, as InsightFace computes it.

    For each fold the threshold that is best on the others, the lowest of equally good ones,
    decides. Thresholds are squared distances of normalised embeddings, 2 - 2 * cosine, in steps of
    0.01, and here a pair matches below them.

    Args:
        scores: as `metrics` says.
        same: as `metrics` says.
        folds: the fold of each pair, `[pairs]`; or how many there are, into which the pairs are cut
            in their order, the first ones longer by one pair if need be.

    Source: https://github.com/deepinsight/insightface, in recognition/arcface_torch the file
    eval/verification.py.

    Raises:
        ValueError: as `metrics.check` does, if there are fewer than two folds, fewer pairs than
            folds, or folds for another number of pairs.
    """
    check(scores, same)
    parts = _parts(len(scores), folds)
    sizes = np.array([len(part) for part in parts])
    correct = np.stack([_correct(scores[part], same[part]) for part in parts])
    chosen = np.argmax(correct.sum(axis=0) - correct, axis=1)
    accuracies = correct[np.arange(len(parts)), chosen] / sizes
    thresholds = tuple(float(threshold) for threshold in _THRESHOLDS[chosen])
    return FoldAccuracy(len(parts), float(accuracies.mean()), float(accuracies.std()), thresholds)


def _parts(pairs: int, folds: int | Folds) -> list[NDArray[np.intp]]:
    """Return which pairs each fold has."""
    if not isinstance(folds, int):
        if folds.shape != (pairs,):
            raise ValueError(f"folds of shape {list(folds.shape)} are not one for each pair")
        parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    elif folds > pairs:
        raise ValueError(f"{pairs} pairs cannot be cut into {folds} folds")
    else:
        parts = np.array_split(np.arange(pairs), max(folds, 1))
    if len(parts) < 2:
        raise ValueError(
            f"a threshold comes from other folds: at least 2 are needed, not {len(parts)}"
        )
    return parts


def _correct(scores: Scores, same: Same) -> NDArray[np.intp]:
    """Return how many pairs each threshold of the folds decides correctly."""
    matches = (2 - 2 * scores)[:, None] < _THRESHOLDS
    correct: NDArray[np.intp] = (matches == same[:, None]).sum(axis=0)
    return correct
