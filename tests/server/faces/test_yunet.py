"""YuNet's part of the work, on a network of its form that finds white cells instead of faces."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import Detector, DetectorError
from support.white_cells import white_cells, with_cells


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    file = tmp_path_factory.mktemp("yunet") / "white.onnx"
    onnx.save(white_cells(), file)
    found = detectors.load("yunet", file)
    assert found
    return found


def test_reads_the_network(detector: Detector) -> None:
    """Box, landmarks from left to right, and score are those that the network gives."""
    (found,) = detector.detect(with_cells(320, 160, (10, 6)))
    assert tuple(vars(found.box).values()) == pytest.approx((68, 28, 32, 48))
    expected = [(72, 32), (88, 32), (80, 48), (72, 56), (88, 56)]
    np.testing.assert_allclose(found.landmarks, expected)
    assert found.score == pytest.approx(1)


def test_any_size(detector: Detector) -> None:
    """Images of one size after the other are searched, two faces at a time or none."""
    assert len(detector.detect(with_cells(320, 160, (10, 6), (30, 6)))) == 2
    assert len(detector.detect(with_cells(96, 200, (5, 12)))) == 1
    assert detector.detect(with_cells(64, 64)) == []


def test_another_network(tmp_path: Path) -> None:
    """A network of another form is refused when it is loaded."""
    network = white_cells()
    del network.graph.output[-1]
    onnx.save(network, tmp_path / "other.onnx")
    with pytest.raises(DetectorError, match=r"cannot load .*other\.onnx as a YuNet"):
        detectors.load("yunet", tmp_path / "other.onnx")


def test_name(detector: Detector) -> None:
    """The detector has the name that it is chosen by."""
    assert detector.name == "yunet"
