"""What is promised, how it is measured, and whether it was kept.

A scenario is a function that does harm to a real server and yields a figure for each of its
promises, in their order.
"""

import contextlib
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

# A scenario that takes longer has failed.
_MOST_S = 150
_MOST_TEXT = 200
_TWO_DIGITS = 10

KEPT, MISSED, BROKEN = "kept", "missed", "broken"


@dataclass(frozen=True)
class Promise:
    """A figure's bound, which is the most that it may be, or the least.

    Args:
        text: what is measured.
        bound: in `unit`.
        limit: beyond its bound a promise is missed, and only beyond this one it is broken. For what
            depends on how busy the machine is, or is known to be missed.
        least: the figure has to be at least its bound.
    """

    text: str
    bound: float
    unit: str = ""
    limit: float | None = None
    least: bool = False

    def judge(self, figure: float) -> str:
        """Return whether a figure keeps the promise, misses it, or breaks it."""
        if self._within(figure, self.bound):
            return KEPT
        missed = self.limit is not None and self._within(figure, self.limit)
        return MISSED if missed else BROKEN

    def _within(self, figure: float, bound: float) -> bool:
        return figure >= bound if self.least else figure <= bound

    def write(self, figure: float) -> str:
        """Return a figure with its unit."""
        whole = figure >= _TWO_DIGITS or figure == int(figure)
        return f"{figure:{',.0f' if whole else '.2g'}} {self.unit}".strip()

    @property
    def bound_text(self) -> str:
        """The bound in words."""
        if self.bound == 0:
            return "none"
        return f"at {'least' if self.least else 'most'} {self.write(self.bound)}"


@dataclass(frozen=True)
class Noted:
    """A figure, and what one has to know to judge it."""

    figure: float
    note: str


Figures = Generator[float | Noted, None, None]


@dataclass(frozen=True)
class Scenario:
    """What gives the figures of some promises, from the folder of a store with the stand-ins."""

    promises: tuple[Promise, ...]
    figures: Callable[[Path], Figures]


def scenario(*promises: Promise) -> Callable[[Callable[[Path], Figures]], Scenario]:
    """Make a function the scenario of promises."""
    return lambda figures: Scenario(promises, figures)


@dataclass(frozen=True)
class Row:
    """A promise, and what became of it."""

    subject: str
    promise: str
    bound: str
    measured: str
    verdict: str

    def write(self) -> str:
        """Return it as a row in Markdown."""
        verdict = self.verdict if self.verdict == KEPT else f"**{self.verdict}**"
        return f"| {self.subject} | {self.promise} | {self.bound} | {self.measured} | {verdict} |"


HEAD = "| Subject | Promise | Bound | Measured | |\n|---|---|---|---|---|"


def measure(subject: str, made: Scenario, store: Path) -> Iterator[Row]:
    """Run a scenario; a promise without a figure is broken, and its row says why."""
    figures, fault = made.figures(store), "the scenario ended without it"
    with _time_limit(), contextlib.closing(figures):
        for promise in made.promises:
            verdict = BROKEN
            try:
                given = next(figures)
            except StopIteration:
                measured = fault
            except Exception as error:
                text = " ".join(str(error).split())[:_MOST_TEXT].replace("|", "/")
                measured = fault = f"{type(error).__name__}: {text}"
            else:
                noted = given if isinstance(given, Noted) else Noted(given, "")
                measured = promise.write(noted.figure) + (noted.note and f" ({noted.note})")
                verdict = promise.judge(noted.figure)
            yield Row(subject, promise.text, promise.bound_text, measured, verdict)
        assert next(figures, None) is None, "the scenario gives more figures than it has promises"


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def end(*_: object) -> None:
        raise TimeoutError(f"the scenario took more than {_MOST_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_MOST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
