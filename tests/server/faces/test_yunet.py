"""YuNet's part of the work, on a network of its form that finds white cells instead of faces."""

from pathlib import Path

import cv2
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


@pytest.mark.slow
def test_as_opencv(test_data: Path) -> None:
    """With trained weights it finds what OpenCV's FaceDetectorYN finds."""
    file = test_data / "models" / "yunet_2026may.onnx"
    yunet = detectors.load("yunet", file)
    assert yunet
    opencv = cv2.FaceDetectorYN.create(str(file), "", (0, 0), 0.7, 0.3)
    photographs = [cv2.imread(each) for each in (test_data / "faces" / "photos").glob("*.jpg")]
    # Sides that are no multiples of a cell's, and two faces.
    photographs += [np.hstack([each[:250], each[:250]])[:, 3:] for each in photographs[:3]]
    for photograph in photographs:
        opencv.setInputSize(photograph.shape[1::-1])
        expected = sorted(opencv.detect(photograph)[1].tolist())
        found = sorted(yunet.detect(photograph), key=lambda face: face.box.left)
        rows = [[*vars(face.box).values(), *face.landmarks.ravel(), face.score] for face in found]
        np.testing.assert_allclose(rows, expected, atol=0.01)


def test_other_cells(tmp_path: Path) -> None:
    """A network whose outputs have the names of YuNet's, and not its cells, is refused."""
    network = white_cells()
    convolution = next(node for node in network.graph.node if "cls_8_w" in node.input)
    (strides,) = (each for each in convolution.attribute if each.name == "strides")
    strides.ints[:] = [4, 4]
    onnx.save(network, tmp_path / "cells.onnx")
    with pytest.raises(DetectorError, match=r"cells\.onnx as a YuNet: .* cells of 8 pixels"):
        detectors.load("yunet", tmp_path / "cells.onnx")


def test_another_network(tmp_path: Path) -> None:
    """A network of another form is refused when it is loaded."""
    network = white_cells()
    del network.graph.output[-1]
    onnx.save(network, tmp_path / "other.onnx")
    with pytest.raises(DetectorError, match=r"cannot load .*other\.onnx as a YuNet: .*kps_32"):
        detectors.load("yunet", tmp_path / "other.onnx")


def test_name(detector: Detector) -> None:
    """The detector has the name that it is chosen by."""
    assert detector.name == "yunet"
