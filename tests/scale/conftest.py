"""What tests of several servers measured, shown at the end of the run."""

import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The benchmarks are no package, and one of them has the name of a module of Python's: so last.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

_FIGURE = "figure"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell a figure in a line, which is shown whether the test fails or not."""
    return functools.partial(record_property, _FIGURE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the lines."""
    terminalreporter.section("figures")
    for report in itertools.chain(*terminalreporter.stats.values()):
        if getattr(report, "when", "") == "teardown":
            for name, value in report.user_properties:
                if name == _FIGURE:
                    terminalreporter.write_line(value)
