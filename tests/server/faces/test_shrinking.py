"""Many small images of one, held against OpenCV's."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from face_embedding_server.faces.images import Image
from face_embedding_server.faces.shrinking import Shrinkable

RANDOM = np.random.default_rng(0)
# Rounding: sums of a column are exact, the shares of rows that an edge cuts are not.
TOLERANCE = 0.01
# In pixels, more than any part reaches beyond its image.
BEYOND = 250
# First row and column, and those after the last, in an image of 480×640.
PARTS = {
    "whole": (0, 0, 480, 640),
    "inside": (13, 57, 413, 391),
    "small": (100, 100, 140, 140),
    "smaller than asked for": (7, 9, 17, 19),
    "beyond above and left": (-50, -33, 150, 167),
    "beyond below and right": (401, 555, 601, 755),
    "beyond everywhere": (-20, -10, 520, 670),
    "small and beyond": (-9, 620, 31, 660),
    "one row and column inside": (479, 639, 679, 839),
}


def image(height: int, width: int) -> Image:
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def by_opencv(whole: Image, part: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    top, left, bottom, right = part
    padded = np.pad(whole, ((BEYOND, BEYOND), (BEYOND, BEYOND), (0, 0))).astype(np.float32)
    cut = padded[top + BEYOND : bottom + BEYOND, left + BEYOND : right + BEYOND]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("size", [(24, 24), (48, 48), (7, 31), (96, 128)])
@pytest.mark.parametrize("part", PARTS)
def test_parts(part: str, size: tuple[int, int]) -> None:
    """A part has the means of its areas, and is black beyond the image."""
    whole = image(480, 640)
    found = Shrinkable(whole).shrunk(PARTS[part], *size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_opencv(whole, PARTS[part], *size), atol=TOLERANCE)


@pytest.mark.parametrize("height", [1, 2, 97, 1500])
def test_heights(height: int) -> None:
    """Images of any height, one after the other, white ones too, whose sums are the largest."""
    for whole in (image(height, 60), np.full((height, 60, 3), 255, np.uint8)):
        part = (0, 0, height, 60)
        found = Shrinkable(whole).shrunk(part, max(1, height // 3), 20)
        expected = by_opencv(whole, part, max(1, height // 3), 20)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_threads() -> None:
    """In several threads at once each has its own image."""
    wholes = [image(200, 100 + 20 * (index % 3)) for index in range(24)]

    def shrunk(whole: Image) -> np.ndarray:
        return Shrinkable(whole).shrunk((0, 0, *whole.shape[:2]), 20, 20)

    with ThreadPoolExecutor(4) as pool:
        for whole, found in zip(wholes, pool.map(shrunk, wholes), strict=True):
            expected = by_opencv(whole, (0, 0, *whole.shape[:2]), 20, 20)
            np.testing.assert_allclose(found, expected, atol=TOLERANCE)
