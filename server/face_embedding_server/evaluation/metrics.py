"""Verification metrics: how well scores tell pairs of one person from pairs of two.

All take `scores`, float64 `[pairs]`, the cosine similarity of each pair, and `same`, bool
`[pairs]`, whether it shows one person. A pair matches when its score is at or above the threshold.
The terms are those of ISO/IEC 19795-1: the false match rate is the share of the different pairs
that match, the false non-match rate the share of the same pairs that do not.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Same = NDArray[np.bool_]

_CONFIDENCE = 0.95
# More decimals than two rates of a million pairs need to differ, fewer than rounding disturbs.
_DECIMALS = 13


@dataclass(frozen=True)
class Interval:
    """Where a value lies with a confidence of 95 %."""

    low: float
    high: float


@dataclass(frozen=True)
class Roc:
    """What each threshold gives; arrays of one length, sorted by falling threshold.

    Args:
        thresholds: infinity, at which nothing matches, and then every distinct score.
        false_match_rates: 0 to 1, rising.
        true_match_rates: 0 to 1, rising.
    """

    thresholds: Scores
    false_match_rates: Scores
    true_match_rates: Scores


@dataclass(frozen=True)
class EqualError:
    """The equal error rate, and the threshold that gives it."""

    rate: float
    threshold: float


@dataclass(frozen=True)
class TarAtFar:
    """What is accepted where false matches are limited.

    Args:
        rate: the false match rate that was asked for.
        threshold: the score from which pairs match.
        true_accept_rate: the share of the same pairs that match.
        true_accept_interval: the 95 % interval of that share.
        false_match_rate: the false match rate obtained, at most `rate`.
        false_match_interval: the 95 % interval of that rate.
    """

    rate: float
    threshold: float
    true_accept_rate: float
    true_accept_interval: Interval
    false_match_rate: float
    false_match_interval: Interval


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the 95 % interval of a share, by Wilson's score.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    1927.

    Raises:
        ValueError: if there is no trial, or there are not 0 to `trials` successes.
    """
    if trials < 1:
        raise ValueError(f"an interval needs at least one trial, not {trials}")
    if not 0 <= successes <= trials:
        raise ValueError(f"there are {successes} successes in {trials} trials")
    share = successes / trials
    square = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2) ** 2
    centre = share + square / (2 * trials)
    spread = math.sqrt(square * (share * (1 - share) + square / (4 * trials)) / trials)
    scale = 1 + square / trials
    # The formula gives the ends exactly, but its rounding does not.
    return Interval(
        0.0 if successes == 0 else (centre - spread) / scale,
        1.0 if successes == trials else (centre + spread) / scale,
    )


def roc(scores: Scores, same: Same) -> Roc:
    """Return the rates at every threshold that makes a difference.

    Raises:
        ValueError: as `check` does.
    """
    check(scores, same)
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last_of_score = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    matches = np.cumsum(same[order])[last_of_score]
    false_matches = last_of_score + 1 - matches
    return Roc(
        np.concatenate([[np.inf], falling[last_of_score]]),
        np.concatenate([[0.0], false_matches / false_matches[-1]]),
        np.concatenate([[0.0], matches / matches[-1]]),
    )


def auc(roc: Roc) -> float:
    """Return the area under the curve, 0 to 1: how often a same pair outscores a different one.

    Equal scores count half.
    """
    widths = np.diff(roc.false_match_rates)
    heights = (roc.true_match_rates[1:] + roc.true_match_rates[:-1]) / 2
    return float(widths @ heights)


def auc_interval(scores: Scores, same: Same, seed: int = 0, rounds: int = 200) -> Interval:
    """Return the 95 % interval of the area under the curve, by bootstrap percentiles.

    The same pairs and the different pairs are drawn anew, each from their own. Where no scores
    overlap the interval is [1, 1]: the pairs there are do not show what others would give.

    Raises:
        ValueError: as `check` does, or if there is no round.
    """
    check(scores, same)
    if rounds < 1:
        raise ValueError(f"the bootstrap needs at least one round, not {rounds}")
    distinct, ranks = np.unique(scores, return_inverse=True)
    random = np.random.default_rng(seed)
    areas = [
        _area(*(_drawn(ranks[kind], len(distinct), random) for kind in (same, ~same)))
        for _ in range(rounds)
    ]
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(areas, [tail, 100 - tail])
    return Interval(float(low), float(high))


def equal_error(roc: Roc) -> EqualError:
    """Return where the false match rate and the false non-match rate are closest.

    The rate is the mean of both there. If two scores are equally close the higher one counts. The
    threshold is halfway from that score to the next lower one, and the score itself if it is the
    lowest; every threshold in between decides alike. So where no scores overlap the rate is 0 and
    the threshold halfway between the two kinds.
    """
    false_match_rates, misses = roc.false_match_rates[1:], 1 - roc.true_match_rates[1:]
    gaps = np.abs(false_match_rates - misses)
    best = int(np.argmin(np.round(gaps, _DECIMALS)))
    rate = float(false_match_rates[best] + misses[best]) / 2
    score, *lower = (float(each) for each in roc.thresholds[1:][best : best + 2])
    return EqualError(rate, _between(lower[0], score) if lower else score)


def pairs_needed(rate: float) -> int:
    """Return how many different pairs it takes for one false match to be within a rate.

    Raises:
        ValueError: if the rate is not between 0 and 1.
    """
    return math.ceil(1 / _exact(rate))


def operating_point(scores: Scores, same: Same, rate: float) -> TarAtFar | None:
    """Return what is accepted at the lowest threshold that keeps to a false match rate.

    The threshold is halfway between the highest score of a different pair that must not match and
    the next higher score of any pair; if there is none, just above the former.

    Returns:
        None if there are fewer different pairs than `pairs_needed`.

    Raises:
        ValueError: as `check` does, or if the rate is not between 0 and 1.
    """
    check(scores, same)
    accepted, different = scores[same], np.sort(scores[~same])
    if len(different) < pairs_needed(rate):
        return None
    allowed = math.floor(_exact(rate) * len(different))
    rejected = float(different[-1 - allowed])
    higher = scores[scores > rejected]
    threshold = (
        _between(rejected, float(higher.min())) if len(higher) else math.nextafter(rejected, 2)
    )
    true_matches, false_matches = (int((kind >= threshold).sum()) for kind in (accepted, different))
    return TarAtFar(
        rate=rate,
        threshold=threshold,
        true_accept_rate=true_matches / len(accepted),
        true_accept_interval=wilson_interval(true_matches, len(accepted)),
        false_match_rate=false_matches / len(different),
        false_match_interval=wilson_interval(false_matches, len(different)),
    )


def check(scores: Scores, same: Same) -> None:
    """Refuse what no metric can be computed from.

    Raises:
        ValueError: if the arrays are not `[pairs]` of one length, `same` is not boolean, a score is
            not finite, or there is not at least one pair of each kind.
    """
    if scores.ndim != 1 or scores.shape != same.shape:
        raise ValueError(
            f"scores of shape {list(scores.shape)} and labels of shape {list(same.shape)} "
            "are not one of each for every pair"
        )
    if same.dtype != np.bool_:
        raise ValueError(f"the labels are {same.dtype}, not bool")
    if not (finite := np.isfinite(scores)).all():
        where = int(np.argmin(finite))
        raise ValueError(f"the score of pair {where} is not finite: {scores[where]}")
    for kind, name in ((same, "one person"), (~same, "different people")):
        if not kind.any():
            raise ValueError(f"none of the {len(same)} pairs is of {name}")


def _drawn(ranks: NDArray[np.intp], distinct: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Draw as many as there are, and return how many there are of each rank."""
    drawn = ranks[random.integers(0, len(ranks), len(ranks))]
    return np.bincount(drawn, minlength=distinct)


def _area(same: NDArray[np.intp], different: NDArray[np.intp]) -> float:
    """Return the area under the curve from how many pairs have each score, in rising order."""
    below = np.cumsum(different) - different / 2
    return float(same @ below) / (int(same.sum()) * int(different.sum()))


def _exact(rate: float) -> Fraction:
    """Return a rate as it is written: in binary, 0.29 of 100 pairs would be 28."""
    if not 0 < rate < 1:
        raise ValueError(f"the rate {rate} is not between 0 and 1")
    return Fraction(str(rate))


def _between(lower: float, higher: float) -> float:
    """Return a threshold that the higher score reaches and the lower does not."""
    middle = lower + (higher - lower) / 2
    # Between neighbouring numbers there is none.
    return middle if lower < middle <= higher else higher
