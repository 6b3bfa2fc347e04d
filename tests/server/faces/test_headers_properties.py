"""Image headers, whatever the bytes are."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_embedding_server.faces import headers
from face_embedding_server.faces.headers import ImageSize, UnreadableImageError
from support import encode
from support.damage import attempt, damaged

SUFFIXES = (".png", ".jpg", ".webp")
_NOISE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
SEEDS = [
    *(encode(_NOISE, suffix) for suffix in SUFFIXES),
    cv2.imencode(".jpg", _NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    cv2.imencode(".webp", _NOISE, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(),
    b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x27\0\0\x17\0\0",
]


def outcome(data: bytes) -> ImageSize | str:
    """The size, or why there is none. Any other exception than the declared one is a failure."""
    size = attempt(UnreadableImageError, lambda: headers.read_size(data))
    if isinstance(size, UnreadableImageError):
        return str(size)
    return size


def check(data: bytes) -> None:
    assert outcome(data) == outcome(data)


@given(damaged(SEEDS))
def test_damaged(data: bytes) -> None:
    """A damaged file has a size or is refused with a reason, and twice it is the same."""
    check(data)


@pytest.mark.slow
@settings(max_examples=2000)
@given(damaged(SEEDS))
def test_damaged_often(data: bytes) -> None:
    """The same of many more."""
    check(data)


@given(st.binary(max_size=400), st.sampled_from([b"", *(seed[:12] for seed in SEEDS)]))
def test_any_bytes(data: bytes, start: bytes) -> None:
    """Any bytes behind the beginning of a format, or behind none, have a size or are refused."""
    check(start + data)


@given(st.sampled_from(SUFFIXES), st.integers(1, 200), st.integers(1, 200))
def test_made_files(suffix: str, width: int, height: int) -> None:
    """A file that an encoder made has the size that it was made with."""
    data = encode(np.zeros((height, width, 3), np.uint8), suffix)
    assert headers.read_size(data) == ImageSize(width, height)
