"""Plots of verification metrics, as PNG files of 800x600 pixels.

Matplotlib is imported only when something is drawn.
"""

import importlib
import io
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from face_embedding_models import regular_files
from face_embedding_server.errors import OperatorError
from face_embedding_server.evaluation.metrics import Roc, Same, Scores, check

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_DPI = 100
_INCHES = (8, 6)
_BINS = 50
_MARGIN = 0.01
_SAME_COLOUR, _DIFFERENT_COLOUR, _LINE_COLOUR = "tab:blue", "tab:orange", "black"
_FALSE_MATCH = "False match rate: different people who match"
_FALSE_NON_MATCH = "False non-match rate: one person who does not match"
_TRUE_MATCH = "True match rate: one person who matches"
_DET_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4)
_DET_HIGHEST = 0.6
# How far left of the lowest rate there is none at all: a factor, and standard deviations.
_ZERO_FACTOR = 3
_ZERO_DEVIATES = 0.4


class PlotError(OperatorError):
    """A plot cannot be drawn; the message says why and what to do."""


def draw_roc(roc: Roc, title: str, path: Path) -> None:
    """Draw the true match rate over the false match rate, the latter on a logarithmic axis.

    No false match has no place on such an axis; it gets one left of the lowest rate.

    Raises:
        PlotError: if Matplotlib is not installed.
        OSError: if the file cannot be written.
    """
    figure, axes = _figure(title)
    lowest = _lowest(roc.false_match_rates)
    zero = lowest / _ZERO_FACTOR
    decades = [10.0**power for power in range(int(np.ceil(np.log10(lowest) - 1e-9)), 1)]
    # Where nothing matches falsely only the best is an operating point.
    start = int(np.flatnonzero(roc.false_match_rates == 0)[-1])
    x = np.maximum(roc.false_match_rates[start:], zero)
    axes.plot(x, roc.true_match_rates[start:], drawstyle="steps-post", linewidth=2)
    axes.set_xscale("log")
    axes.set_xlim(zero / 1.2, 1.2)
    _set_rate_ticks(axes.xaxis, [zero, *decades], [0, *decades])
    axes.set_ylim(0, 1.03)
    heights = list(np.linspace(0, 1, 6))
    _set_rate_ticks(axes.yaxis, heights, heights)
    axes.set_xlabel(_FALSE_MATCH)
    axes.set_ylabel(_TRUE_MATCH)
    _save(figure, path)


def draw_det(roc: Roc, title: str, path: Path) -> None:
    """Draw the false non-match rate over the false match rate, on normal-deviate axes.

    A rate of 0 has no place on such an axis; it gets one left of and below the lowest rate.

    Source: A. Martin and others, The DET curve in assessment of detection task performance, 1997.

    Raises:
        PlotError: if Matplotlib is not installed.
        OSError: if the file cannot be written.
    """
    figure, axes = _figure(title)
    false_matches, misses = roc.false_match_rates, 1 - roc.true_match_rates
    lowest = min(1e-3, _lowest(false_matches), _lowest(misses))
    zero = _deviates([lowest])[0] - _ZERO_DEVIATES
    x, y = (_deviates_or(zero, rates) for rates in (false_matches, misses))
    ticks = [tick for tick in _DET_TICKS if tick >= lowest]
    limits = (zero - 0.1, float(_deviates([_DET_HIGHEST])[0]))
    axes.axline((0, 0), slope=1, color="grey", linestyle="--", linewidth=1, label="equal errors")
    axes.plot(x, y, drawstyle="steps-post", linewidth=2)
    for axis in (axes.xaxis, axes.yaxis):
        _set_rate_ticks(axis, [zero, *_deviates(ticks)], [0, *ticks])
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_xlabel(_FALSE_MATCH)
    axes.set_ylabel(_FALSE_NON_MATCH)
    axes.legend(loc="upper right")
    _save(figure, path)


def draw_histogram(scores: Scores, same: Same, threshold: float, title: str, path: Path) -> None:
    """Draw how the scores of either kind of pairs are spread, and a threshold.

    Each kind is drawn as shares of its own number, so that a rare one shows.

    Args:
        scores: float64 `[pairs]`, cosine similarities.
        same: bool `[pairs]`, whether a pair shows one person.
        threshold: the score from which pairs match.
        title: what is above the plot.
        path: the PNG file to write.

    Raises:
        ValueError: as `metrics.check` does.
        PlotError: if Matplotlib is not installed.
        OSError: if the file cannot be written.
    """
    check(scores, same)
    figure, axes = _figure(title)
    # A margin, as scores that are all alike are in no range at all.
    limits = (float(scores.min()) - _MARGIN, float(scores.max()) + _MARGIN)
    edges = list(np.linspace(*limits, _BINS + 1))
    for kind, name, colour in (
        (same, "same person", _SAME_COLOUR),
        (~same, "different people", _DIFFERENT_COLOUR),
    ):
        pairs = int(kind.sum())
        shares = np.full(pairs, 1 / pairs)
        label = f"{name} ({pairs} pair{'s' if pairs > 1 else ''})"
        axes.hist(scores[kind], edges, weights=shares, alpha=0.6, color=colour, label=label)
    axes.axvline(threshold, color=_LINE_COLOUR, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.yaxis.set_major_formatter(lambda share, _: _percent(share))
    axes.set_xlabel("Cosine similarity")
    axes.set_ylabel("Share of the pairs of the kind")
    axes.legend()
    _save(figure, path)


def _figure(title: str) -> "tuple[Figure, Axes]":
    try:
        module = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise PlotError(
            f"Matplotlib, which plots need, cannot be imported ({error}); install it with "
            "pip install 'face-embedding[plot]'"
        ) from error
    # Without pyplot there is no window and no global state, and PNG is drawn by Agg.
    figure: Figure = module.Figure(_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, wrap=True)
    axes.grid(visible=True, alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    regular_files.replace(path, data.getvalue())


def _set_rate_ticks(axis: "Axis", positions: list[float], rates: list[float]) -> None:
    axis.set_ticks(positions, [_percent(rate) for rate in rates])
    axis.set_ticks([], minor=True)


def _percent(rate: float) -> str:
    return f"{100 * rate:.10g} %"


def _lowest(rates: Scores) -> float:
    """Return the lowest rate above 0; the last false match rate and the first miss rate are 1."""
    return float(rates[rates > 0].min())


def _deviates_or(zero: float, rates: Scores) -> NDArray[np.float64]:
    """Return the places of rates on a normal-deviate axis that has one for 0."""
    # Beyond the highest rate is outside the plot, and 1 would be at infinity.
    inside = np.minimum(rates, (1 + _DET_HIGHEST) / 2)
    places = np.full(len(rates), zero)
    places[inside > 0] = _deviates(inside[inside > 0])
    return places


def _deviates(rates: Scores | list[float]) -> NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf(float(rate)) for rate in rates])
