"""The plots of an evaluation."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from face_embedding_server.evaluation import metrics, plots
from face_embedding_server.evaluation.metrics import Same, Scores
from face_embedding_server.faces.headers import ImageSize, read_size


def separated() -> tuple[Scores, Same]:
    same = np.arange(120) % 2 == 0
    return np.random.default_rng(0).normal(np.where(same, 0.75, 0), 0.05), same


def overlapping() -> tuple[Scores, Same]:
    same = np.arange(6000) % 2 == 0
    return np.random.default_rng(0).normal(np.where(same, 0.4, 0), 0.15), same


DATA: dict[str, tuple[Scores, Same]] = {
    "separated": separated(),
    "overlapping": overlapping(),
    "reversed": (np.array([0.1, 0.9]), np.array([True, False])),
    "equal": (np.array([0.5, 0.5]), np.array([True, False])),
    "almost equal": (np.array([1.0, 1 - 2**-53]), np.array([True, False])),
    "one of a kind": (np.array([0.9, 0.2, 0.1]), np.array([True, False, False])),
}


def draw_roc(scores: Scores, same: Same, path: Path) -> None:
    plots.draw_roc(metrics.roc(scores, same), "A model", path)


def draw_det(scores: Scores, same: Same, path: Path) -> None:
    plots.draw_det(metrics.roc(scores, same), "A model", path)


def draw_histogram(scores: Scores, same: Same, path: Path) -> None:
    plots.draw_histogram(scores, same, 0.4, "A model", path)


DRAW = pytest.mark.parametrize("draw", [draw_roc, draw_det, draw_histogram])
Draw = Callable[[Scores, Same, Path], None]


def drawn(path: Path) -> np.ndarray:
    assert read_size(path.read_bytes()) == ImageSize(width=800, height=600)
    assert path.read_bytes().startswith(b"\x89PNG")
    return cv2.imread(str(path))


@pytest.mark.parametrize("name", DATA)
@DRAW
def test_png(draw: Draw, name: str, tmp_path: Path) -> None:
    """A plot is a PNG of 800x600 pixels with something on it, whatever the rates."""
    draw(*DATA[name], tmp_path / "plot.png")
    assert len(np.unique(drawn(tmp_path / "plot.png").reshape(-1, 3), axis=0)) > 10


@DRAW
def test_data_shows(draw: Draw, tmp_path: Path) -> None:
    """Different data give different images, the same data the same one."""
    for file, name in (("a", "separated"), ("b", "overlapping"), ("c", "separated")):
        draw(*DATA[name], tmp_path / file)
    a, b, c = (drawn(tmp_path / file) for file in "abc")
    assert (a == c).all()
    assert (a != b).any()


def test_threshold_shows(tmp_path: Path) -> None:
    """Another threshold gives another histogram, and one beyond all scores is on it."""
    for threshold in (0.3, 0.5, -1.0):
        path = tmp_path / str(threshold)
        plots.draw_histogram(*DATA["separated"], threshold, "A model", path)
    low, high, beyond = (drawn(tmp_path / name) for name in ("0.3", "0.5", "-1.0"))
    assert (low != high).any()
    assert (beyond != low).any()


def test_title_shows(tmp_path: Path) -> None:
    """Another title gives another image, also one that is too long for a line."""
    curve = metrics.roc(*DATA["separated"])
    for file, title in (("a", "A model"), ("b", "A model with a long name " * 6)):
        plots.draw_roc(curve, title, tmp_path / file)
    assert (drawn(tmp_path / "a") != drawn(tmp_path / "b")).any()


def test_histogram_of_nothing(tmp_path: Path) -> None:
    """A histogram needs pairs of both kinds."""
    with pytest.raises(ValueError, match="none of the 1 pairs is of different people"):
        plots.draw_histogram(np.ones(1), np.ones(1, bool), 0.4, "A model", tmp_path / "plot.png")


def test_without_matplotlib(tmp_path: Path) -> None:
    """Without Matplotlib the module is there, and drawing says what to install."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import numpy as np, pathlib\n"
        "from face_embedding_server.evaluation import metrics, plots\n"
        "curve = metrics.roc(np.array([0.9, 0.1]), np.array([True, False]))\n"
        "try:\n"
        "    plots.draw_roc(curve, 'A model', pathlib.Path(sys.argv[1]))\n"
        "except plots.PlotError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "plot.png")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "pip install 'face-embedding[plot]'" in output
    assert not (tmp_path / "plot.png").exists()
