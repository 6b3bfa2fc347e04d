"""From the scores of labelled pairs to operating points."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from face_embedding_server.evaluation import metrics
from face_embedding_server.evaluation.metrics import Interval, Same, Scores
from face_embedding_server.inference.operating_points import (
    Calibration,
    CalibrationError,
    OperatingPoint,
)

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
EQUAL_ERROR = "equal-error"
_ROUNDS = 200
# Of fewer pairs not even an error rate of a quarter can be told from none.
_FEW = 10
_PERCENTILES = (2.5, 97.5)
_SEED = 0

Threshold = Callable[[Scores, Same], float]


def calibrate(
    scores: Scores,
    same: Same,
    space: str,
    rates: Sequence[float] | None = None,
    *,
    own: tuple[int, int] | None = None,
) -> Calibration:
    """Return the operating points that labelled pairs support.

    Args:
        scores: cosine similarities, float64 `[pairs]`.
        same: `[pairs]`, whether a pair is of one person.
        space: the embedding space.
        rates: false match rates, above 0 and below 1; None for each of `RATES` that the number of
            pairs supports.
        own: how many pairs of one person, and of two, show something of their own; None if all do.

    Raises:
        CalibrationError: if a rate that was asked for is none, or needs more pairs.
    """
    accepted, rejected = int(same.sum()), int((~same).sum())
    own_same, different = own or (accepted, rejected)
    chosen = [r for r in RATES if metrics.pairs_needed(r) <= different] if rates is None else rates
    for rate in chosen:
        if not 0 < rate < 1:
            raise CalibrationError(f"{rate:g} is not a false match rate between 0 and 1")
        if (needed := metrics.pairs_needed(rate)) > different:
            raise CalibrationError(
                f"a false match rate of {rate:g} cannot be calibrated on {different} pairs of "
                f"different people; it needs at least {needed:,}, better ten times as many"
            )
    points = [_point(EQUAL_ERROR, scores, same, _equal_error_threshold)]
    points += [_point(_name(rate), scores, same, _threshold_for(rate)) for rate in chosen]
    note = _note(own_same, different)
    if note:
        # Drawn anew, so few pairs are the same ones again and again, and look sure.
        points = [replace(each, threshold_low=-1.0, threshold_high=1.0) for each in points]
    return Calibration(space, accepted, rejected, tuple(points), note=note)


def _note(same: int, different: int) -> str:
    """Return what so few pairs do not support; nothing if there are enough."""
    if min(same, different) >= _FEW:
        return ""
    misses, matches = (
        metrics.wilson_interval(0, pairs).high if pairs else 1.0 for pairs in (same, different)
    )
    return (
        f"too few pairs to rely on: without one error, {same} of one person and {different} of two "
        f"support a false non-match rate of up to {misses:.1%} and a false match rate of up to "
        f"{matches:.1%}, so that nothing is decided; it takes {_FEW} of each at least, better "
        f"hundreds"
    )


def _point(name: str, scores: Scores, same: Same, threshold_of: Threshold) -> OperatingPoint:
    threshold = threshold_of(scores, same)
    interval = _interval(scores, same, threshold_of)
    false_matches = int((scores[~same] >= threshold).sum())
    false_non_matches = int((scores[same] < threshold).sum())
    return OperatingPoint(
        name=name,
        threshold=threshold,
        threshold_low=min(interval.low, threshold),
        # Some drawings have no threshold at all: then nothing is sure.
        threshold_high=max(min(interval.high, 1.0), threshold),
        false_match_rate=false_matches / int((~same).sum()),
        false_match_rate_high=metrics.wilson_interval(false_matches, int((~same).sum())).high,
        false_non_match_rate=false_non_matches / int(same.sum()),
        false_non_match_rate_high=metrics.wilson_interval(false_non_matches, int(same.sum())).high,
    )


def _interval(scores: Scores, same: Same, threshold_of: Threshold) -> Interval:
    """Return where the threshold lies when the pairs are drawn anew, by bootstrap percentiles."""
    random = np.random.default_rng(_SEED)
    groups = scores[same], scores[~same]
    labels = np.repeat([True, False], [len(group) for group in groups])
    thresholds = [
        threshold_of(np.concatenate([random.choice(group, len(group)) for group in groups]), labels)
        for _ in range(_ROUNDS)
    ]
    return Interval(*map(float, np.percentile(thresholds, _PERCENTILES)))


def _equal_error_threshold(scores: Scores, same: Same) -> float:
    return metrics.equal_error(metrics.roc(scores, same)).threshold


def _threshold_for(rate: float) -> Threshold:
    def threshold(scores: Scores, same: Same) -> float:
        point = metrics.operating_point(scores, same, rate)
        return point.threshold if point else math.inf

    return threshold


def _name(rate: float) -> str:
    """Return the name of an operating point: `fmr-1e-3` for 0.001, `fmr-0.02` for 0.02."""
    exponent = round(math.log10(rate))
    return f"fmr-1e{exponent}" if math.isclose(rate, 10.0**exponent) else f"fmr-{rate:g}"
