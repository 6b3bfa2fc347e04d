"""How well a model tells people apart, measured on labelled pairs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from face_embedding_server.evaluation import metrics
from face_embedding_server.evaluation.embedding import Embedded, Embedder, EmbeddingError
from face_embedding_server.evaluation.metrics import Same, Scores
from face_embedding_server.evaluation.pairs import Pairs

FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_FOLDS = 10


@dataclass(frozen=True)
class Scored:
    """The similarities of the pairs whose images could both be embedded.

    Args:
        scores: cosine similarities, float64 `[pairs]`.
        same: `[pairs]`, whether a pair is of one person.
        left_out: the number of pairs without a similarity.
        errors: why an image has no embedding, by its name.
    """

    scores: Scores
    same: Same
    left_out: int
    errors: dict[str, str]


def score(pairs: Pairs, embedded: Embedded) -> Scored:
    """Return the similarity of each pair.

    Raises:
        EmbeddingError: if there are not pairs of both kinds.
    """
    failed = np.array(list(embedded.errors), np.intp)
    kept = ~(np.isin(pairs.first, failed) | np.isin(pairs.second, failed))
    first, second, same = pairs.first[kept], pairs.second[kept], pairs.same[kept]
    if same.all() or not same.any():
        raise EmbeddingError("there have to be pairs of one person, and pairs of two")
    unit = embedded.unit
    scores = (unit[first] * unit[second]).sum(axis=1)
    errors = {pairs.names[index]: message for index, message in embedded.errors.items()}
    return Scored(scores, same, int((~kept).sum()), errors)


def evaluate(embedder: Embedder, plain: Scored, flipped: Scored) -> dict[str, Any]:
    """Return the accuracy of a model as JSON; `flipped` has mirror images added, `plain` not."""
    info, same = embedder.info, int(plain.same.sum())
    return {
        "model": info.name,
        "backend": info.backend,
        "precision": info.precision,
        "detector": info.detector,
        "embedding_space": info.embedding_space,
        "weights_note": info.weights_note,
        "same_pairs": same,
        "different_pairs": len(plain.same) - same,
        "pairs_left_out": plain.left_out,
        "errors": plain.errors,
        "plain": _measures(plain),
        "with_flip": _measures(flipped),
    }


def _measures(scored: Scored) -> dict[str, Any]:
    scores, same = scored.scores, scored.same
    curve = metrics.roc(scores, same)
    return {
        "ten_fold_accuracy": (
            asdict(metrics.ten_fold_accuracy(scores, same)) if len(scores) >= _FOLDS else None
        ),
        "auc": metrics.auc(curve),
        "auc_interval": asdict(metrics.auc_interval(scores, same)),
        "equal_error": asdict(metrics.equal_error(curve)),
        "true_accept_rates": [
            _at_false_accept_rate(scores, same, rate) for rate in FALSE_ACCEPT_RATES
        ],
    }


def _at_false_accept_rate(scores: Scores, same: Same, rate: float) -> dict[str, Any]:
    point = metrics.operating_point(scores, same, rate)
    if point:
        return asdict(point)
    return {"rate": rate, "different_pairs_needed": metrics.pairs_needed(rate)}
