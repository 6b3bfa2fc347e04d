"""Warnings: each fires on what it names, and none on good photographs."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from face_embedding_models import manifest
from face_embedding_models.store import Store
from face_embedding_server.faces import alignment, detectors, quality
from face_embedding_server.faces.alignment import Points
from face_embedding_server.faces.detectors import Box, Detection
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import Image
from face_embedding_server.faces.quality import QualityWarning, WarningReason
from face_embedding_server.inference import backends
from support import MOBILE, Golden

SIZE = ImageSize(112, 112)
GOOD_NORM = 12.0
MIN_NORM = manifest.load(MOBILE).output.min_norm
# A head in millimetres, x to the right, y down, z to the viewer: the eyes, the tip of the nose and
# the corners of the mouth.
HEAD = np.array([(-31, -33, -8), (31, -33, -8), (0, 0, 22), (-25, 33, -2), (25, 33, -2)], float)


def warned(
    face: Image, landmarks: Points | None = None, norm: float = GOOD_NORM
) -> dict[str, QualityWarning]:
    found = quality.warnings(face, landmarks, norm, MIN_NORM)
    return {each.reason.name: each for each in found}


@pytest.fixture(scope="module")
def person() -> tuple[Image, Points]:
    """A photograph of a person, and the landmarks that the detector finds."""
    image = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    detector = detectors.load("mtcnn", None)
    assert detector
    return image, detectors.find(detector, image)[0].landmarks


@pytest.fixture(scope="module")
def face(person: tuple[Image, Points]) -> Image:
    """That person's aligned face."""
    return alignment.align(*person, SIZE)


def test_good_face(face: Image, person: tuple[Image, Points]) -> None:
    """A good photograph has no warning."""
    assert not warned(face, person[1])


SPOILT: dict[str, tuple[str, Callable[[Image], Image]]] = {
    "blur": ("BLURRED", lambda face: cv2.GaussianBlur(face, (0, 0), 2)),
    "strong blur": ("BLURRED", lambda face: cv2.GaussianBlur(face, (0, 0), 4)),
    "no light": ("DARK", lambda face: (face * 0.12).astype(np.uint8)),
    "swapped": ("CHANNEL_ORDER", lambda face: np.ascontiguousarray(face[..., ::-1])),
    "too much light": ("BRIGHT", lambda face: cv2.add(face, (150, 150, 150, 0))),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_face(name: str, face: Image) -> None:
    """A spoilt face has the warning that names it."""
    reason, spoil = SPOILT[name]
    assert reason in warned(spoil(face))


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_photographs(name: str, golden: Golden) -> None:
    """So have all of the aligned photographs, which have none as they are."""
    reason, spoil = SPOILT[name]
    assert not [face for face in golden.faces if warned(face)]
    silent = [face for face in golden.faces if reason not in warned(spoil(face))]
    # Light that leaves a few faces just below the limit is no failure of the warning.
    assert len(silent) <= (2 if reason == "BRIGHT" else 0)


def test_landmarks_of_photographs(test_data: Path, golden: Golden) -> None:
    """The landmarks of good photographs raise no warning."""
    landmarks = json.loads((test_data / "faces" / "landmarks.json").read_text())
    for name, face in zip(golden.names, golden.faces, strict=True):
        assert not warned(face, np.array(landmarks[name])), name


def test_norms_of_photographs(golden: Golden) -> None:
    """No aligned photograph has a low norm with the trained weights."""
    for embedding in golden.embeddings:
        assert "LOW_NORM" not in warned(golden.faces[0], norm=float(np.linalg.norm(embedding)))


def test_norm_of_noise(trained_store: Store) -> None:
    """What is no face has a low norm."""
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    backend = backends.load("openvino", trained_store.get(MOBILE), "f32")
    norm = float(np.linalg.norm(backend.embed(noise)))
    assert warned(noise, norm=norm)["LOW_NORM"].value == pytest.approx(norm)


def test_unknown_norm(face: Image) -> None:
    """Where the norms of a model are not known, none is too low."""
    assert not quality.warnings(face, None, 0.1, None)


def test_small(face: Image, person: tuple[Image, Points]) -> None:
    """A face whose eyes are 12 pixels apart in the photograph is small."""
    landmarks = person[1]
    small = landmarks * 12 / np.linalg.norm(landmarks[1] - landmarks[0])
    warning = warned(face, small)["SMALL"]
    assert warning.value == pytest.approx(12)
    assert warning.limit == 20


def test_mirrored_landmarks(face: Image, person: tuple[Image, Points]) -> None:
    """Left and right swapped are no face's landmarks."""
    assert "LANDMARKS" in warned(face, person[1][[1, 0, 2, 4, 3]])


@pytest.mark.parametrize(("degrees", "frontal"), [(0, True), (15, True), (45, False)])
def test_turned_head(degrees: float, frontal: bool, face: Image) -> None:
    """A head that is turned far is not frontal."""
    angle = np.radians(degrees)
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    landmarks = (HEAD @ turn.T)[:, :2] + 100
    assert ("NOT_FRONTAL" not in warned(face, landmarks)) == frontal


def test_value_is_beyond_limit(face: Image) -> None:
    """A warning tells what was measured and the limit that it is beyond."""
    dark = warned((face * 0.05).astype(np.uint8))["DARK"]
    assert 0 <= dark.value < dark.limit == 25


def judged(degrees: float, turned_degrees: int = 0, score: float = 1) -> list[QualityWarning]:
    """What is said of a face whose landmarks are turned clockwise by so much."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (alignment.TEMPLATE - 56) @ rotation.T + 200
    face = Detection(Box(100, 100, 200, 200), landmarks, score, turned_degrees)
    return quality.of_detection(face, unsure_score=0.9)


@pytest.mark.parametrize("degrees", [75, -75, 90, 180, -100])
def test_on_its_side(degrees: float) -> None:
    """A face that is on its side or upside down is turned, by the angle that the warning has."""
    (warning,) = judged(degrees)
    assert warning.reason is WarningReason.TURNED
    assert warning.value == pytest.approx(abs(degrees), abs=1)
    assert warning.limit == 60


@pytest.mark.parametrize(("degrees", "turned"), [(0, 0), (45, 0), (-45, 0), (-90, 90), (100, 270)])
def test_upright(degrees: float, turned: int) -> None:
    """A leaning head is not turned, nor is a face that the turn of the photograph explains."""
    assert not judged(degrees, turned)


def test_turned_in_vain() -> None:
    """A face that is upside down in the photograph as it was turned is turned."""
    assert [each.reason for each in judged(90, 90)] == [WarningReason.TURNED]


def test_unsure() -> None:
    """A face of which the detector is not sure has its score as a warning."""
    (warning,) = judged(0, score=0.8)
    assert (warning.reason, warning.value, warning.limit) == (WarningReason.UNSURE, 0.8, 0.9)


def test_grey_face(face: Image) -> None:
    """A grey face has no channel order to warn of."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert not warned(grey)


def test_flat_image() -> None:
    """An image of one colour has no detail, and that is no error."""
    assert "BLURRED" in warned(np.full((112, 112, 3), 127, np.uint8))
