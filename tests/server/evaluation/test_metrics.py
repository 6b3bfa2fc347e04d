"""The metrics of pairs, against scikit-learn and against numbers computed by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from face_embedding_server.evaluation import metrics
from face_embedding_server.evaluation.folds import ten_fold_accuracy
from face_embedding_server.evaluation.metrics import EqualError, Interval, Same, Scores


def pairs(same: list[float], different: list[float]) -> tuple[Scores, Same]:
    return np.array(same + different), np.array([True] * len(same) + [False] * len(different))


def random_pairs(number: int, seed: int) -> tuple[Scores, Same]:
    """Overlapping scores of two decimals, so that many are equal."""
    random = np.random.default_rng(seed)
    same = random.random(number) < 0.4
    return np.round(random.normal(np.where(same, 0.4, 0.1), 0.2).clip(-1, 1), 2), same


SMALL = pairs([0.9, 0.8, 0.6], [0.7, 0.5, 0.4])


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (5, 10, 0.23659, 0.76341),
        (1, 10, 0.01788, 0.40415),
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (0, 1, 0.0, 0.79346),
    ],
)
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    """The interval is that of Wilson's formula."""
    interval = metrics.wilson_interval(successes, trials)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("trials", [1, 3, 7, 49, 3000])
def test_wilson_ends(trials: int) -> None:
    """No success and no failure reach the ends exactly, anything else does not."""
    assert metrics.wilson_interval(0, trials).low == 0.0
    assert metrics.wilson_interval(trials, trials).high == 1.0
    inner = [metrics.wilson_interval(successes, trials) for successes in range(1, trials)]
    assert all(0 < each.low < each.high < 1 for each in inner)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refused(successes: int, trials: int) -> None:
    """There is no interval of no trial, nor of impossible successes."""
    with pytest.raises(ValueError, match="trial"):
        metrics.wilson_interval(successes, trials)


def test_roc_by_hand() -> None:
    """Three pairs of each kind, one of each on the wrong side."""
    curve = metrics.roc(*SMALL)
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert curve.false_match_rates.tolist() == [0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1]
    assert curve.true_match_rates.tolist() == [0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1]
    assert metrics.auc(curve) == pytest.approx(8 / 9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [20, 999, 6000])
def test_roc_of_scikit_learn(number: int, seed: int) -> None:
    """Every point and the area are scikit-learn's, with equal scores too."""
    scores, same = random_pairs(number, seed)
    curve = metrics.roc(scores, same)
    expected = roc_curve(same, scores, drop_intermediate=False)
    found = (curve.false_match_rates, curve.true_match_rates, curve.thresholds)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)
    assert metrics.auc(curve) == pytest.approx(roc_auc_score(same, scores), abs=1e-12)


def test_auc_of_equal_scores() -> None:
    """Scores that tell nothing have an area of one half."""
    assert metrics.auc(metrics.roc(*pairs([0.5] * 3, [0.5] * 4))) == 0.5


@pytest.mark.parametrize(
    ("same", "different", "expected"),
    [
        ([0.9, 0.8, 0.6], [0.7, 0.5, 0.4], EqualError(1 / 3, 0.65)),
        ([0.8, 0.6], [0.2, 0.1], EqualError(0, 0.4)),
        ([0.9, 0.7], [0.7, 0.1], EqualError(0.25, 0.8)),
        ([0.1], [0.9], EqualError(1, 0.5)),
        ([0.5, 0.5], [0.5], EqualError(0.5, 0.5)),
    ],
    ids=["overlapping", "separated", "equally close", "reversed", "all equal"],
)
def test_equal_error(same: list[float], different: list[float], expected: EqualError) -> None:
    """The errors are equal where expected by hand."""
    found = metrics.equal_error(metrics.roc(*pairs(same, different)))
    assert (found.rate, found.threshold) == pytest.approx((expected.rate, expected.threshold))


def test_equally_close_despite_rounding() -> None:
    """Of two equally close scores the higher one counts, though 1 - 0.9 is not 0.1."""
    same = [0.9] * 9 + [0.7]
    different = [0.7] + [0.1] * 9
    assert metrics.equal_error(metrics.roc(*pairs(same, different))).threshold == 0.8


def test_neighbouring_scores() -> None:
    """Between scores with no number in between, the threshold still separates."""
    higher = math.nextafter(0.5, 1)
    scores, same = pairs([higher], [0.5])
    assert metrics.equal_error(metrics.roc(scores, same)) == EqualError(0, higher)


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_threshold(seed: int) -> None:
    """The threshold gives the rate."""
    scores, same = random_pairs(6000, seed)
    found = metrics.equal_error(metrics.roc(scores, same))
    matches = scores >= found.threshold
    errors = matches[~same].mean(), (~matches[same]).mean()
    assert found.rate == pytest.approx(sum(errors) / 2)
    assert errors[0] == pytest.approx(errors[1], abs=0.03)


@pytest.mark.parametrize(
    ("rate", "needed"),
    [(0.3, 4), (0.1, 10), (0.07, 15), (1e-3, 1000), (1e-4, 10000), (1e-5, 10**5)],
)
def test_pairs_needed(rate: float, needed: int) -> None:
    """One false match among so many is within the rate, among fewer it is not."""
    assert metrics.pairs_needed(rate) == needed


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, math.nan])
def test_rate_refused(rate: float) -> None:
    """A rate is between 0 and 1."""
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        metrics.operating_point(*SMALL, rate)


TENTHS = [number / 10 for number in range(10)]


@pytest.mark.parametrize(
    ("same", "different", "rate", "threshold", "accepted", "false_matches"),
    [
        ([0.95, 0.85, 0.05], TENTHS, 0.1, 0.825, 2, 1),
        ([0.95, 0.85, 0.05], TENTHS, 0.19, 0.825, 2, 1),
        ([0.95, 0.85, 0.05], TENTHS, 0.2, 0.75, 2, 2),
        ([0.6], [0.5] * 10, 0.1, 0.55, 1, 0),
        ([0.4], [0.5] * 10, 0.1, math.nextafter(0.5, 1), 0, 0),
    ],
    ids=["a tenth", "less than two", "two", "equal", "none higher"],
)
def test_operating_point(
    same: list[float],
    different: list[float],
    rate: float,
    threshold: float,
    accepted: int,
    false_matches: int,
) -> None:
    """The lowest threshold that keeps to the rate is the one expected by hand."""
    found = metrics.operating_point(*pairs(same, different), rate)
    assert found == metrics.TarAtFar(
        rate=rate,
        threshold=pytest.approx(threshold, abs=1e-15),
        true_accept_rate=accepted / len(same),
        true_accept_interval=metrics.wilson_interval(accepted, len(same)),
        false_match_rate=false_matches / 10,
        false_match_interval=metrics.wilson_interval(false_matches, 10),
    )


def test_operating_point_unsupported() -> None:
    """A rate of less than one different pair has no operating point."""
    assert metrics.operating_point(*pairs([0.9], TENTHS), 0.1) is not None
    assert metrics.operating_point(*pairs([0.9], TENTHS), 0.099) is None


def test_operating_point_as_written() -> None:
    """The rate is the decimal number: 0.29 of 100 pairs are 29, though not in binary."""
    found = metrics.operating_point(*pairs([2.0], [number / 100 for number in range(100)]), 0.29)
    assert found is not None
    assert found.false_match_rate == 0.29


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("seed", range(3))
def test_operating_point_of_scikit_learn(seed: int, rate: float) -> None:
    """What is accepted is the highest that scikit-learn's curve has within the rate."""
    scores, same = random_pairs(6000, seed)
    false_match_rates, true_match_rates, _ = roc_curve(same, scores, drop_intermediate=False)
    found = metrics.operating_point(scores, same, rate)
    assert found is not None
    assert found.true_accept_rate == true_match_rates[false_match_rates <= rate].max()
    assert found.false_match_rate == false_match_rates[false_match_rates <= rate].max()


def test_auc_interval_of_scikit_learn() -> None:
    """The interval is that of a plain bootstrap of the same draws with scikit-learn."""
    scores, same = random_pairs(400, 0)
    random = np.random.default_rng(1)
    kinds = np.flatnonzero(same), np.flatnonzero(~same)
    areas = []
    for _ in range(200):
        drawn = np.concatenate([kind[random.integers(0, len(kind), len(kind))] for kind in kinds])
        areas.append(roc_auc_score(same[drawn], scores[drawn]))
    found = metrics.auc_interval(scores, same, seed=1)
    expected = np.percentile(areas, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_auc_interval_seed() -> None:
    """The same seed gives the same interval, around the area, and another one another."""
    scores, same = random_pairs(400, 0)
    found = metrics.auc_interval(scores, same, seed=3)
    assert found == metrics.auc_interval(scores, same, seed=3)
    assert found != metrics.auc_interval(scores, same, seed=4)
    assert found.low < metrics.auc(metrics.roc(scores, same)) < found.high


def test_auc_interval_separated() -> None:
    """Scores that do not overlap have the whole area, however they are drawn."""
    assert metrics.auc_interval(*pairs([0.8, 0.6], [0.2, 0.1])) == Interval(1, 1)


def test_auc_interval_rounds() -> None:
    """A bootstrap of no round is refused."""
    with pytest.raises(ValueError, match="at least one round"):
        metrics.auc_interval(*SMALL, rounds=0)


def test_folds_by_hand() -> None:
    """Two folds, of which one has a threshold that is too strict for the other.

    The distances are 1 and 3 in the first, 0.5 and 1.5 in the second.
    """
    scores, same = np.array([0.5, -0.5, 0.75, 0.25]), np.array([True, False, True, False])
    found = ten_fold_accuracy(scores, same, folds=2)
    assert (found.mean, found.std) == (0.75, 0.25)
    assert found.thresholds == pytest.approx((0.51, 1.01))


def fold_accuracy_of_scikit_learn(
    scores: Scores, same: Same, folds: int
) -> tuple[float, float, list[float]]:
    distances, thresholds = 2 - 2 * scores, np.arange(0, 4, 0.01)
    chosen, accuracies = [], []
    for others, left_out in KFold(n_splits=folds, shuffle=False).split(distances):
        right = [np.mean((distances[others] < each) == same[others]) for each in thresholds]
        best = thresholds[np.argmax(right)]
        chosen.append(float(best))
        accuracies.append(np.mean((distances[left_out] < best) == same[left_out]))
    return float(np.mean(accuracies)), float(np.std(accuracies)), chosen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("number", "folds"), [(10, 10), (103, 10), (120, 7), (6000, 10)])
def test_folds_of_scikit_learn(number: int, folds: int, seed: int) -> None:
    """The protocol is that of scikit-learn's folds, also where they are not equally long."""
    scores, same = random_pairs(number, seed)
    found = ten_fold_accuracy(scores, same, folds)
    mean, std, thresholds = fold_accuracy_of_scikit_learn(scores, same, folds)
    assert (found.mean, found.std) == pytest.approx((mean, std), abs=1e-12)
    assert list(found.thresholds) == thresholds


@pytest.mark.parametrize("seed", range(3))
def test_given_folds(seed: int) -> None:
    """Folds that are given are kept to, wherever their pairs are and however many they have."""
    scores, same = random_pairs(300, seed)
    order = np.random.default_rng(seed).permutation(300)
    found = ten_fold_accuracy(scores[order], same[order], np.repeat([5, 2, 9], 100)[order])
    expected = ten_fold_accuracy(scores, same, 3)
    assert (found.folds, found.mean) == (3, pytest.approx(expected.mean))
    assert sorted(found.thresholds) == sorted(expected.thresholds)


@pytest.mark.parametrize(
    ("folds", "message"),
    [([1] * 6, "at least 2 are needed, not 1"), ([1, 2], r"folds of shape \[2\] are not one for")],
)
def test_given_folds_refused(folds: list[int], message: str) -> None:
    """There is a fold for each pair, and more than one."""
    with pytest.raises(ValueError, match=message):
        ten_fold_accuracy(*SMALL, np.array(folds))


@pytest.mark.parametrize(
    ("folds", "message"), [(7, "6 pairs cannot be cut into 7 folds"), (1, "at least 2 are needed")]
)
def test_folds_refused(folds: int, message: str) -> None:
    """There are no more folds than pairs, and more than one."""
    with pytest.raises(ValueError, match=message):
        ten_fold_accuracy(*SMALL, folds=folds)


@pytest.mark.parametrize(
    ("scores", "same", "message"),
    [
        ([0.1, 0.2], [True], "not one of each for every pair"),
        ([[0.1, 0.2]], [[True, False]], "not one of each for every pair"),
        ([0.1, 0.2], [1, 0], "int64, not bool"),
        ([0.1, math.nan], [True, False], "the score of pair 1 is not finite: nan"),
        ([-math.inf, 0.1], [True, False], "the score of pair 0 is not finite: -inf"),
        ([0.1, 0.2], [True, True], "none of the 2 pairs is of different people"),
        ([0.1, 0.2], [False, False], "none of the 2 pairs is of one person"),
    ],
    ids=["lengths", "shape", "integers", "nan", "infinite", "all same", "all different"],
)
def test_refused(scores: list[float], same: list[bool], message: str) -> None:
    """Every metric refuses what it cannot be computed from, in words."""
    arrays = np.array(scores), np.array(same)
    for metric in (metrics.roc, metrics.auc_interval, ten_fold_accuracy):
        with pytest.raises(ValueError, match=message):
            metric(*arrays)
    with pytest.raises(ValueError, match=message):
        metrics.operating_point(*arrays, 0.1)
