"""What tests of several servers measured, shown at the end of the run."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The benchmarks are no package, and one of them has the name of a module of Python's: so last.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Tell a figure in a line, which is shown whether the test fails or not."""
    return pytestconfig.stash.setdefault(_LINES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the lines."""
    terminalreporter.section("figures")
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)
