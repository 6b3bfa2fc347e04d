"""What the page shows of photographs is what the server answers."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from browsing import Page
from PIL import Image as Pictures
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from face_embedding_client import Embedding, FaceEmbeddingClient, Photograph
from face_embedding_server.faces.alignment import align
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import ImageReader
from support import wait_until

# Levels of 255, of which 0.07 and 3 were measured.
MEAN_DIFFERENCE, MAX_DIFFERENCE = 0.2, 6
# Similarities are shown to three places.
SHOWN = 5.1e-4
BOX = ("x", "y", "width", "height")


def faces_of(client: FaceEmbeddingClient, file: Path) -> list[Embedding]:
    """All faces of a photograph, asked for as the page does."""
    return list(client.embed_faces(file.read_bytes(), upright="auto"))


def landmarks_of(face: Embedding) -> np.ndarray:
    assert face.detection
    marks = face.detection.landmarks
    return np.array(
        [marks.left_eye, marks.right_eye, marks.nose, marks.left_mouth, marks.right_mouth]
    )


def test_faces(page: Page, asked: FaceEmbeddingClient, people: list[Path]) -> None:
    """Boxes and landmarks are drawn where the server found them, in pixels of the photograph."""
    page.add(people[0])
    (face,) = faces_of(asked, people[0])
    assert face.detection
    box = face.detection.box
    ((*drawn,),) = page.numbers("rect:not(.edge)", BOX)
    assert drawn == pytest.approx([box.left, box.top, box.width, box.height], abs=0.01)
    circles = np.array(page.numbers("circle", ("cx", "cy")))
    assert np.abs(circles - landmarks_of(face)).max() < 0.01
    # The drawing covers the picture.
    assert page.one(".picture svg").rect == pytest.approx(page.one(".picture img").rect, abs=0.5)


def test_similarity(page: Page, asked: FaceEmbeddingClient, people: list[Path]) -> None:
    """Two photographs give the similarity that Compare gives, and the time of each round trip."""
    page.add(*people[:2])
    first, second = (Photograph(file.read_bytes()) for file in people[:2])
    expected = asked.compare(first, second).cosine_similarity
    assert float(page.text("#similarity")) == pytest.approx(expected, abs=SHOWN)
    assert f"Similarity of faces 1 and 2: {expected:.3f}" in page.text("#status")
    times = [re.fullmatch(r"Round trip (\d+) ms\.", text) for text in page.texts(".answered")]
    assert all(time and int(time[1]) > 0 for time in times)


def test_operating_points(page: Page, asked: FaceEmbeddingClient, people: list[Path]) -> None:
    """At each operating point the page decides as Compare does, by the same threshold."""
    page.add(people[0], people[2])
    photographs = [Photograph(file.read_bytes()) for file in (people[0], people[2])]
    points = asked.model_info().operating_points
    rows = page.all("#points tbody tr")
    assert len(rows) == len(points) > 1
    for row, point in zip(rows, points, strict=True):
        name, threshold, *_, verdict = (each.text for each in row.find_elements(By.XPATH, "*"))
        decision = asked.compare(*photographs, operating_point=point.name).decision or ""
        assert (name, float(threshold)) == (point.name, pytest.approx(point.threshold, abs=SHOWN))
        assert verdict.startswith(decision.lower().replace("_", " "))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_upright(
    page: Page,
    asked: FaceEmbeddingClient,
    people: list[Path],
    tmp_path: Path,
    suffix: str,
    tell: Callable[[str], None],
) -> None:
    """Whatever the EXIF orientation, the aligned face that is shown is the server's."""
    files = [tmp_path / f"{orientation}.{suffix}" for orientation in range(1, 9)]
    for orientation, file in enumerate(files, 1):
        exif = Pictures.Exif()
        exif[0x0112] = orientation
        with Pictures.open(people[1]) as picture:
            picture.save(file, exif=exif.tobytes(), speed=10)  # AVIF's fastest.
    page.add(*files)
    largest = max(check_aligned_face(page, page.photograph(file), asked, file) for file in files)
    tell(f"page: aligned faces of {suffix} in 8 orientations differ by {largest} of 255 at most")


def test_orientation_that_does_not_count(
    page: Page, asked: FaceEmbeddingClient, people: list[Path], tmp_path: Path
) -> None:
    """A WebP whose canvas does not speak of EXIF is not turned by it."""
    file = tmp_path / "unannounced.webp"
    exif = Pictures.Exif()
    exif[0x0112] = 6
    with Pictures.open(people[1]) as picture:
        picture.save(file, exif=exif.tobytes())
    data = bytearray(file.read_bytes())
    data[20] ^= 0x08
    file.write_bytes(data)
    page.add(file)
    check_aligned_face(page, page.photograph(file), asked, file)


@pytest.mark.parametrize("scale", [0.3, 4])
def test_size(
    page: Page, asked: FaceEmbeddingClient, people: list[Path], tmp_path: Path, scale: float
) -> None:
    """A face of 35 pixels is enlarged, and one of 470 shrunk by area, as the server does it."""
    file = tmp_path / "scaled.png"
    cv2.imwrite(str(file), cv2.resize(cv2.imread(str(people[1])), None, fx=scale, fy=scale))
    page.add(file)
    check_aligned_face(page, page.photograph(file), asked, file)


def check_aligned_face(
    page: Page, shown: WebElement, asked: FaceEmbeddingClient, file: Path
) -> int:
    """Hold an aligned face that is shown against the server's; return the largest difference."""
    face = faces_of(asked, file)[0]
    photograph = ImageReader().decode(file.read_bytes())
    expected = align(photograph, landmarks_of(face), ImageSize(112, 112))
    crop = page.crop(shown.find_element(By.CSS_SELECTOR, ".faces canvas"))
    difference = np.abs(crop.astype(int) - expected)
    assert difference.mean() <= MEAN_DIFFERENCE
    assert difference.max() <= MAX_DIFFERENCE
    # The picture that the boxes are drawn on has the same sides.
    view = shown.find_element(By.CSS_SELECTOR, ".picture svg").get_dom_attribute("viewBox") or ""
    assert view.split()[2:] == [str(photograph.shape[1]), str(photograph.shape[0])]
    return int(difference.max())


def test_matrix(page: Page, asked: FaceEmbeddingClient, people: list[Path], group: Path) -> None:
    """Several photographs, and several faces of one, give the similarity of each to each."""
    page.add(people[1], group)
    faces = [face for file in (people[1], group) for face in faces_of(asked, file)]
    assert len(faces) == 3
    for cell, (row, column) in zip(page.texts("#matrix tbody td"), np.ndindex(3, 3), strict=True):
        if row == column:
            assert not cell
        else:
            expected = asked.compare(faces[row], faces[column]).cosine_similarity
            assert float(cell.split()[0]) == pytest.approx(expected, abs=SHOWN)


def test_warnings(
    page: Page, asked: FaceEmbeddingClient, people: list[Path], tmp_path: Path
) -> None:
    """What makes an embedding less trustworthy is said by its name, with the server's limit."""
    file = tmp_path / "dark.png"
    cv2.imwrite(str(file), cv2.resize(cv2.imread(str(people[0])), None, fx=0.2, fy=0.2) // 8)
    page.add(file)
    (face,) = faces_of(asked, file)
    shown = page.texts(".warnings li")
    assert {warning.reason for warning in face.warnings} >= {"DARK", "SMALL"}
    for text, warning in zip(shown, face.warnings, strict=True):
        assert text.startswith(f"{warning.reason}: ")
        assert f" {warning.limit:.3g} " in text


def test_heic(page: Page, asked: FaceEmbeddingClient, people: list[Path], tmp_path: Path) -> None:
    """A photograph that the browser cannot show is compared all the same, and that is said."""
    pillow_heif = pytest.importorskip("pillow_heif")
    file = tmp_path / "photograph.heic"
    with Pictures.open(people[0]) as picture:
        pillow_heif.from_pillow(picture).save(file)
    page.add(file, people[1])
    assert "cannot show such a file" in page.photograph(file).text
    first, second = (faces_of(asked, each)[0] for each in (file, people[1]))
    expected = asked.compare(first, second).cosine_similarity
    assert float(page.text("#similarity")) == pytest.approx(expected, abs=SHOWN)


def test_model(page: Page, asked: FaceEmbeddingClient) -> None:
    """The model, its version, precision and drift, the engine and the detector are shown."""
    info = asked.model_info()
    assert page.one("#model").get_property("value") == info.name
    for fact, expected in (
        ("version", info.model_version),
        ("precision", info.precision),
        ("drift", "none: others are measured against f32"),
        ("engine", info.backend_version),
        ("detector", info.detector),
    ):
        assert expected in page.text(f"[data-fact={fact}]")


def test_live_figures(page: Page, people: list[Path]) -> None:
    """Where the gateway passes the metrics on, the server's figures are shown, and move."""
    wait_until(lambda: page.text("[data-figure=facesPerSecond]") == "0.0")
    page.add(people[0])
    wait_until(lambda: float(page.text("[data-figure=facesPerSecond]")) > 0)
    assert page.text("[data-figure=queue]") == "0"
    assert re.fullmatch(r"[\d.]+ ms", page.text("[data-figure=median]"))
