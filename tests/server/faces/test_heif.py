"""HEIC and AVIF: taken as viewers show them, within what their headers announce."""

import io
import random
import subprocess
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces import headers
from face_embedding_server.faces.images import Image, ImageReader
from face_embedding_server.limits import DEFAULT_MAX_IMAGE_PIXELS
from support import hostile_images as made
from support.measured_decoding import decode_measured
from support.processes import child_environment

READER = ImageReader()
NOISE = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
PICTURE = NOISE.resize((240, 160), Pillow.Resampling.BICUBIC)
SECTOR = 512


def heic(picture: Pillow.Image = PICTURE, orientation: int = 1) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, quality=95, exif=exif.tobytes())
    return file.getvalue()


def avif(picture: Pillow.Image = PICTURE, orientation: int = 1) -> bytes:
    return made.encoded(picture, "AVIF", quality=95, exif=made.exif(orientation))


HEIC, AVIF = heic(), avif()
FILES = {"HEIC": HEIC, "AVIF": AVIF}


def difference(pixels: Image, picture: Pillow.Image) -> float:
    assert pixels.shape[:2] == (picture.height, picture.width)
    return float(np.abs(pixels[..., ::-1].astype(int) - np.asarray(picture.convert("RGB"))).mean())


@pytest.mark.parametrize("name", FILES)
def test_pixels(name: str) -> None:
    """A picture comes out closely, in BGR."""
    assert difference(READER.decode(FILES[name]), PICTURE) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_avif(orientation: int) -> None:
    """An AVIF is turned as Pillow turns it."""
    data = avif(orientation=orientation)
    shown = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data)))
    assert difference(READER.decode(data), shown) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_heic(orientation: int) -> None:
    """A HEIC is turned as its boxes say, once."""
    data = heic(orientation=orientation)
    shown = pillow_heif.open_heif(data).to_pillow()
    assert difference(READER.decode(data), shown) < 2


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_modes(mode: str) -> None:
    """Grey becomes colour, and transparency is dropped."""
    for data in (heic(PICTURE.convert(mode)), avif(PICTURE.convert(mode))):
        assert difference(READER.decode(data), PICTURE.convert(mode).convert("RGB")) < 5


@pytest.mark.parametrize("name", FILES)
def test_size(name: str) -> None:
    """The size is known before anything is decoded, and held against the limit."""
    assert headers.read_size(FILES[name]) == PICTURE.size
    with pytest.raises(Refusal, match="240×160 pixels, at most 9,999 are") as caught:
        ImageReader(max_pixels=9_999).decode(FILES[name])
    assert caught.value.reason == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("name", FILES)
def test_small_announcement(name: str) -> None:
    """A coded picture that is larger than the file announces is refused."""
    at = FILES[name].index(b"ispe") + 8
    small = FILES[name][:at] + bytes((0, 0, 0, 64, 0, 0, 0, 64)) + FILES[name][at + 8 :]
    with pytest.raises(Refusal, match="announces a picture of 64×64 pixels, and has one of"):
        READER.decode(small)


def test_lost_sector() -> None:
    """A HEIC that lost a sector of its pixels is refused."""
    start = len(HEIC) - len(HEIC) // 2
    for at in range(start, len(HEIC) - SECTOR, 499):
        with pytest.raises(Refusal, match="zeros that mean nothing"):
            READER.decode(HEIC[:at] + bytes(SECTOR) + HEIC[at + SECTOR :])


@pytest.mark.parametrize("name", FILES)
def test_cut(name: str) -> None:
    """A file that is cut anywhere is refused."""
    for length in range(30, len(FILES[name]) - 1, 397):
        with pytest.raises(Refusal) as caught:
            READER.decode(FILES[name][:length])
        assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_damaged_files() -> None:
    """A file damaged anywhere is decoded or refused, within the memory of its pixels."""
    chance = random.Random(0)
    files = [made.damaged(chance.choice((HEIC, AVIF)), chance) for _ in range(120)]
    for file, measured in zip(files, decode_measured(files), strict=True):
        pixels = min(measured.announced_pixels, DEFAULT_MAX_IMAGE_PIXELS)
        assert measured.peak_bytes < 12 * pixels + 4 * len(file) + (48 << 20), measured


def test_without_the_extra() -> None:
    """Where the decoder is not installed, the refusal says what the file is and what to install."""
    program = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from face_embedding_server.faces.images import ImageReader\n"
        "from face_embedding_server.errors import Refusal\n"
        "try: ImageReader().decode(sys.stdin.buffer.read())\n"
        "except Refusal as refusal: print(refusal.message)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        input=HEIC, capture_output=True, env=child_environment(), check=True, timeout=60,
    ).stdout.decode()  # fmt: skip
    assert "is a HEIC file" in said
    assert "pip install 'face-embedding[heif]'" in said
