"""What becomes of a figure, and that a broken promise is found out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import report
from promises import BROKEN, KEPT, MISSED, Figures, Noted, Promise, Scenario, measure

from face_embedding_models.store import Store
from support.processes import child_environment

AT_LEAST = Promise("goodput", 90, "%", limit=60, least=True)
# The runner, where an engine that fails is expected to be noticed within no time.
IMPATIENT = """
import dataclasses, sys
import report, scenarios

(failing,) = [made for made in scenarios.ALL["Faults"] if "fails" in made.promises[0].text]
first, second = failing.promises
broken = dataclasses.replace(first, bound=1e-9)
scenarios.ALL = {"Faults": [dataclasses.replace(failing, promises=(broken, second))]}
sys.exit(report.main())
"""


@pytest.mark.parametrize(
    ("figure", "verdict"), [(95, KEPT), (90, KEPT), (89, MISSED), (60, MISSED), (59, BROKEN)]
)
def test_limit(figure: float, verdict: str) -> None:
    """What is missed is broken only beyond its limit."""
    assert AT_LEAST.judge(figure) == verdict


@pytest.mark.parametrize(("figure", "verdict"), [(200, KEPT), (201, BROKEN)])
def test_bound(figure: float, verdict: str) -> None:
    """Without a limit a figure beyond its bound breaks the promise."""
    assert Promise("health", 200, "ms").judge(figure) == verdict


@pytest.mark.parametrize(
    ("figure", "text"),
    [(0, "0 s"), (0.0123, "0.012 s"), (3, "3 s"), (99.6, "100 s"), (1e4, "10,000 s")],
)
def test_write(figure: float, text: str) -> None:
    """Figures have two digits, or all before the point."""
    assert Promise("waiting", 1, "s").write(figure) == text


def test_fault(tmp_path: Path) -> None:
    """A scenario that fails breaks all its promises that have no figure, and says how."""

    def figures(_: Path) -> Figures:
        yield Noted(1, "of 9")
        raise OSError("no server")

    made = Scenario((Promise("a", 1, "s"), Promise("b", 1), Promise("c", 0)), figures)
    rows = [(row.bound, row.measured, row.verdict) for row in measure("x", made, tmp_path)]
    assert rows == [
        ("at most 1 s", "1 s (of 9)", KEPT),
        ("at most 1", "OSError: no server", BROKEN),
        ("none", "OSError: no server", BROKEN),
    ]


@pytest.mark.slow
def test_broken_promise(store: Store, tmp_path: Path) -> None:
    """A figure over its bound fails the run, which says which it was, and others stay kept."""
    saved = tmp_path / "saved.json"
    command = [sys.executable, "-c", IMPATIENT, "--store", str(store.root), "--save", str(saved)]
    folder = str(Path(report.__file__).parent)
    environment = child_environment()
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.returncode == 1, done.stderr
    rows = json.loads(saved.read_text())
    assert [row["verdict"] for row in rows] == [BROKEN, KEPT]
    assert f"broken: Faults: {rows[0]['promise']}: {rows[0]['measured']}" in done.stderr
    assert rows[1]["promise"] in done.stdout
