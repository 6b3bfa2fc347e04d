"""Files that lost something: refused where the decoder notices, taken where nothing is lost."""

import io
import random
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.images import Image, ImageReader
from support import hostile_images as made

READER = ImageReader()
SECTOR = 512
# Like a photograph: large areas, and noise.
PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8), (320, 240)
) // 2 + np.random.default_rng(1).integers(0, 60, (240, 320, 3), np.uint8)
PICTURE = Pillow.fromarray(PIXELS[..., ::-1])
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "colour in full": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
}
JPEGS = {name: made.encoded(PICTURE, "JPEG", **options) for name, options in KINDS.items()} | {
    "grey": made.encoded(PICTURE.convert("L"), "JPEG"),
    "four inks": made.encoded(PICTURE.convert("CMYK"), "JPEG"),
}
END = b"\xff\xd9"
# They go on to other segments, and to no restart.
JPEG = JPEGS["plain"]
TABLES = JPEG.index(b"\xff\xdb")
SCAN = JPEG.index(b"\xff\xda")
PIXEL_DATA = SCAN + 14


def refused(data: bytes) -> bool:
    try:
        READER.decode(data)
    except Refusal as refusal:
        return refusal.reason is Reason.IMAGE_UNREADABLE
    return False


def opencv(data: bytes) -> Image:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


@pytest.mark.parametrize("name", JPEGS)
def test_pixels(name: str) -> None:
    """A JPEG's pixels are those of OpenCV."""
    np.testing.assert_array_equal(READER.decode(JPEGS[name]), opencv(JPEGS[name]))


@pytest.mark.parametrize("sampling", [0x411111, 0x421111, 0x121111, 0x141111, 0x211111])
def test_samplings(sampling: int) -> None:
    """A JPEG of any sampling has OpenCV's pixels."""
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    data = cv2.imencode(".jpg", PIXELS, options)[1].tobytes()
    np.testing.assert_array_equal(READER.decode(data), opencv(data))


def test_rare_sampling() -> None:
    """A JPEG of a sampling that only OpenCV knows is taken."""
    grey = made.encoded(PICTURE.convert("L"), "JPEG")
    three = made.encoded(PICTURE, "JPEG", subsampling=0)
    at = three.index(b"\xff\xc0") + 11
    # One row of 3×1 blocks and their colours for each block of before: the data are too few, of
    # which OpenCV says nothing.
    data = three[:at] + b"\x31" + three[at + 1 :]
    assert READER.decode(data).shape == PIXELS.shape
    assert READER.decode(grey).shape == PIXELS.shape


@pytest.mark.parametrize("name", JPEGS)
def test_lost_sector(name: str) -> None:
    """A JPEG that lost a sector of its pixels, which reads as zeros, is refused."""
    data = JPEGS[name]
    start = data.index(b"\xff\xda") + 20
    chance = random.Random(0)
    for _ in range(60):
        at = chance.randrange(start, len(data) - SECTOR - 2)
        assert refused(data[:at] + bytes(SECTOR) + data[at + SECTOR :]), at


@pytest.mark.parametrize("name", sorted(JPEGS.keys() - {"progressive"}))
def test_missing_sector(name: str) -> None:
    """A JPEG from whose pixels a sector is missing is refused.

    Of progressive ones measured 87 %: in the others the last scan still makes sense.
    """
    data = JPEGS[name]
    start = data.index(b"\xff\xda") + 20
    chance = random.Random(0)
    for _ in range(60):
        at = chance.randrange(start, len(data) - SECTOR - 2)
        assert refused(data[:at] + data[at + SECTOR :]), at


@pytest.mark.parametrize("name", JPEGS)
def test_cut_and_closed(name: str) -> None:
    """A JPEG that is cut short and has an end again is refused."""
    data = JPEGS[name]
    for length in range(data.index(b"\xff\xda") + 20, len(data) - 16, 997):
        assert refused(data[:length] + END), length


def test_message() -> None:
    """A refusal has what the decoder says."""
    with pytest.raises(Refusal, match=r"decoder says.*premature end of data segment"):
        READER.decode(JPEG[: len(JPEG) // 2] + END)


HARMLESS = {
    "behind the end": JPEG + b"\0\1\2" * 99,
    "a second picture behind the end": JPEG + JPEG,
    "zeros before the end": JPEG[:-2] + bytes(40) + END,
    "fill before the end": JPEG[:-2] + b"\xff" * 40 + END,
    "two bytes before the end": JPEG[:-2] + b"\0\1" + END,
    "between segments": JPEG[:TABLES] + bytes(30) + JPEG[TABLES:],
    "before the scan": JPEG[:SCAN] + b"\1\2\3" + JPEG[SCAN:],
    "fill between segments": JPEG[:SCAN] + b"\xff" * 30 + JPEG[SCAN:],
    "unknown JFIF": JPEG.replace(b"JFIF\0\1", b"JFIF\0\2"),
    "a comment of zeros": JPEG[:SCAN] + made.segment(0xFE, bytes(5000)) + JPEG[SCAN:],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(name: str) -> None:
    """Bytes that belong to no picture change nothing."""
    np.testing.assert_array_equal(READER.decode(HARMLESS[name]), opencv(JPEG))


LEFT_OVER = {
    "pixels before the end": JPEG[:-2] + JPEG[PIXEL_DATA : PIXEL_DATA + 40] + END,
    "many zeros before the end": JPEG[:-2] + bytes(SECTOR) + END,
    "junk between segments": JPEG[:SCAN] + bytes(SECTOR) + JPEG[SCAN:],
    "damage with an unknown JFIF": JPEG[: len(JPEG) // 2].replace(b"JFIF\0\1", b"JFIF\0\2") + END,
}


@pytest.mark.parametrize("name", LEFT_OVER)
def test_left_over(name: str) -> None:
    """Bytes that may be what is left over of a picture are refused."""
    assert refused(LEFT_OVER[name])


def test_black() -> None:
    """A picture that is black in large parts may have zeros for pixel data."""
    black = np.zeros((1200, 1600), np.uint8)
    black[:8, :8] = np.arange(64).reshape(8, 8) * 4
    file = io.BytesIO()
    Pillow.fromarray(black).save(file, "JPEG", optimize=True)
    assert bytes(64) in file.getvalue()
    assert READER.decode(file.getvalue()).mean() < 1


PNG = made.encoded(PICTURE, "PNG")
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS[:9, :9])


def png(pixel_data: bytes) -> bytes:
    """Return a PNG of 9×9 pixels."""
    return made.png_header(9, 9) + made.chunk(b"IDAT", pixel_data) + made.chunk(b"IEND", b"")


def test_damaged_png() -> None:
    """A PNG with a changed byte, among its pixels or in its header, is refused."""
    for at in (18, 19, *range(22, 33), *range(60, len(PNG) - 12, 1999)):
        assert refused(PNG[:at] + bytes([PNG[at] ^ 4]) + PNG[at + 1 :]), at


@pytest.mark.parametrize("lost", [1, 4, 40])
def test_cut_pixels_of_a_png(lost: int) -> None:
    """A PNG whose pixel data are cut short, and have a checksum that says otherwise, is refused."""
    assert refused(png(zlib.compress(ROWS)[:-lost]))


def test_few_rows_of_a_png() -> None:
    """A PNG that lacks rows is refused, and one that has more than it should is not."""
    assert refused(png(zlib.compress(ROWS[:-28])))
    assert not refused(png(zlib.compress(ROWS)))
    assert not refused(png(zlib.compress(ROWS + bytes(28))))


@pytest.mark.parametrize("lossless", [False, True])
def test_missing_sector_of_a_webp(lossless: bool) -> None:
    """A WebP from which a sector is missing is refused."""
    data = made.encoded(PICTURE, "WEBP", lossless=lossless)
    for at in range(40, len(data) - SECTOR, 999):
        assert refused(data[:at] + data[at + SECTOR :]), at
