"""How well a model tells people apart, measured on labelled pairs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from face_embedding_models.similarity import cosines
from face_embedding_server.evaluation import left_out, metrics
from face_embedding_server.evaluation.embedding import Embedded, Embedder, EmbeddingError
from face_embedding_server.evaluation.folds import Folds, ten_fold_accuracy
from face_embedding_server.evaluation.left_out import LeftOut
from face_embedding_server.evaluation.metrics import Same, Scores
from face_embedding_server.evaluation.pairs import Pairs
from face_embedding_server.inference.operating_points import Found

FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_FOLDS = 10


@dataclass(frozen=True)
class Scored:
    """The similarities of the pairs whose images could both be embedded.

    Args:
        scores: cosine similarities, float64 `[pairs]`.
        same: `[pairs]`, whether a pair is of one person.
        folds: `[pairs]`, the number of the fold that each is in; None where none are given.
        left_out: the number of pairs that were given and have no similarity here.
        errors: why an image has no embedding, by its name.
        images: the number of images, with those.
        repeated: how many of the pairs that were given show nothing of their own. They are left out
            too, unless no pairs of one kind were left without them.
        own_same: how many pairs of one person show something of their own.
        own_different: how many of two do.
    """

    scores: Scores
    same: Same
    folds: Folds | None
    left_out: int
    errors: dict[str, LeftOut]
    images: int
    repeated: int
    own_same: int
    own_different: int

    @property
    def uses_repeated(self) -> bool:
        """Whether pairs are used that show nothing of their own."""
        return len(self.same) > self.own_same + self.own_different


def score(pairs: Pairs, embedded: Embedded) -> Scored:
    """Return the similarity of each pair.

    Raises:
        EmbeddingError: if there are not pairs of both kinds.
    """
    failed = np.array(list(embedded.errors), np.intp)
    kept = ~(np.isin(pairs.first, failed) | np.isin(pairs.second, failed))
    errors = {pairs.names[index]: each for index, each in embedded.errors.items()}
    if pairs.same[kept].all() or not pairs.same[kept].any():
        why = left_out.lines(errors, len(pairs.names))
        raise EmbeddingError(
            "\n".join(["there have to be pairs of one person, and pairs of two", *why])
        )
    own = kept if pairs.own is None else kept & pairs.own
    own_same, own_different = (
        int((own & (pairs.same == is_same)).sum()) for is_same in (True, False)
    )
    repeated = int((kept & ~own).sum())
    if own_same and own_different:
        kept = own
    unit = embedded.unit
    scores = cosines(unit[pairs.first[kept]], unit[pairs.second[kept]])
    return Scored(
        scores,
        pairs.same[kept],
        None if pairs.folds is None else pairs.folds[kept],
        int((~kept).sum()),
        errors,
        len(pairs.names),
        repeated,
        own_same,
        own_different,
    )


def evaluate(embedder: Embedder, plain: Scored, flipped: Scored, found: Found) -> dict[str, Any]:
    """Return the accuracy of a model as JSON.

    Args:
        embedder: the model.
        plain: without mirror images.
        flipped: with mirror images added.
        found: how the faces of photographs were found.
    """
    info, same = embedder.info, int(plain.same.sum())
    return {
        "model": info.name,
        "backend": info.backend,
        "precision": info.precision,
        "detector": info.detector,
        "selection": found.selection,
        "upright": found.upright,
        "embedding_space": info.embedding_space,
        "weights_note": info.weights_note,
        "same_pairs": same,
        "different_pairs": len(plain.same) - same,
        "pairs_left_out": plain.left_out,
        "pairs_repeated": plain.repeated,
        "uses_repeated_pairs": plain.uses_repeated,
        "images": plain.images,
        "errors": {name: each.message for name, each in flipped.errors.items()},
        "reasons": {name: each.reason for name, each in flipped.errors.items()},
        "plain": _measures(plain),
        "with_flip": _measures(flipped),
    }


def text(document: dict[str, Any]) -> str:
    """Return the JSON of `evaluate` as lines to read."""
    lines = [
        f"{document['model']} on {document['backend']} at {document['precision']}: "
        f"{document['same_pairs']} pairs of one person, {document['different_pairs']} of two",
        document["weights_note"],
    ]
    lines += left_out.found_lines(Found(*(document[each] for each in Found._fields)))
    errors = {
        name: LeftOut(document["reasons"][name], message)
        for name, message in document["errors"].items()
    }
    repeated, used = document["pairs_repeated"], document["uses_repeated_pairs"]
    lines += left_out.pairs_lines(repeated, used=used)
    lines += left_out.lines(errors, document["images"])
    for name, title in (("plain", "as given"), ("with_flip", "with the mirror image")):
        measured = document[name]
        low, high = measured["auc_interval"].values()
        lines += ["", f"{title}:"]
        if with_images := measured["pairs_left_out"] - repeated * (not used):
            lines.append(f"  {with_images} pairs left out with their images")
        lines += [f"  AUC {measured['auc']:.5f} ({low:.5f} to {high:.5f})"]
        if held_out := measured["ten_fold_accuracy"]:
            mean, std, folds = (held_out[key] for key in ("mean", "std", "folds"))
            lines.append(f"  accuracy {mean:.4%} ± {std:.4%} ({folds} folds)")
        else:
            lines.append(f"  no accuracy: {measured['accuracy_note']}")
        equal = measured["equal_error"]
        lines.append(
            f"  equal error rate {equal['rate']:.4%} at similarity {equal['threshold']:.4f}"
        )
        lines += map(_true_accept_text, measured["true_accept_rates"])
    return "\n".join(lines)


def _measures(scored: Scored) -> dict[str, Any]:
    scores, same = scored.scores, scored.same
    curve = metrics.roc(scores, same)
    folds = _FOLDS if scored.folds is None else scored.folds
    why_none = _why_no_accuracy(scored)
    return {
        "pairs_left_out": scored.left_out,
        # So named where the pairs have another number of folds too: programs look for it.
        "ten_fold_accuracy": (None if why_none else asdict(ten_fold_accuracy(scores, same, folds))),
        "accuracy_note": why_none or "",
        "auc": metrics.auc(curve),
        "auc_interval": asdict(metrics.auc_interval(scores, same)),
        "equal_error": asdict(metrics.equal_error(curve)),
        "true_accept_rates": [
            _at_false_accept_rate(scores, same, rate) for rate in FALSE_ACCEPT_RATES
        ],
    }


def _why_no_accuracy(scored: Scored) -> str | None:
    """Return why there is no accuracy at a threshold that other pairs chose; None if there is."""
    if scored.folds is None and len(scored.scores) < _FOLDS:
        return f"{len(scored.scores)} pairs cannot be cut into {_FOLDS} folds"
    if scored.folds is not None and len(np.unique(scored.folds)) < 2:
        return "there is one fold, and the threshold for a fold is chosen on the others"
    return None


def _at_false_accept_rate(scores: Scores, same: Same, rate: float) -> dict[str, Any]:
    point = metrics.operating_point(scores, same, rate)
    if point:
        return asdict(point)
    return {"rate": rate, "different_pairs_needed": metrics.pairs_needed(rate)}


def _true_accept_text(point: dict[str, Any]) -> str:
    start = f"  TAR at FAR {point['rate']:g}"
    if "different_pairs_needed" in point:
        return f"{start}: needs {point['different_pairs_needed']:,} pairs of different people"
    low, high = point["true_accept_interval"].values()
    return (
        f"{start}: {point['true_accept_rate']:.4%} ({low:.4%} to {high:.4%}), "
        f"similarity {point['threshold']:.4f}"
    )
