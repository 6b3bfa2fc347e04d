"""Decoding image files: every kind comes out as viewers show it, in BGR."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.face import RawImage
from face_embedding_server.faces.images import Image, ImageReader

READER = ImageReader()
# Smooth, so that lossy formats keep it.
PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8),
    (80, 120),
    interpolation=cv2.INTER_CUBIC,
)
PICTURE = Pillow.fromarray(PIXELS[..., ::-1])
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}}
LOSSY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}


def encoded(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def bgr(picture: Pillow.Image) -> Image:
    return np.array(picture.convert("RGB"))[..., ::-1]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless(kind: str) -> None:
    """Lossless files come out exactly."""
    np.testing.assert_array_equal(READER.decode(encoded(PICTURE, kind, **LOSSLESS[kind])), PIXELS)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy(kind: str) -> None:
    """Lossy files come out closely."""
    pixels = READER.decode(encoded(PICTURE, kind, **LOSSY[kind]))
    assert np.abs(pixels.astype(int) - PIXELS).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation(kind: str, orientation: int) -> None:
    """The EXIF orientation is applied as Pillow does it."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(PICTURE, kind, exif=exif, **(LOSSLESS | LOSSY | LOSSLESS)[kind])
    upright = bgr(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))))
    pixels = READER.decode(data)
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 1


def test_big_endian_exif() -> None:
    """EXIF of either byte order is understood in WebP."""
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 3, 0, 0)
    data = encoded(PICTURE, "WEBP", exif=b"Exif\0\0" + exif, lossless=True)
    np.testing.assert_array_equal(READER.decode(data), cv2.rotate(PIXELS, cv2.ROTATE_180))


@pytest.mark.parametrize("exif", [b"junk", b"II*\0", b"II*\0\xff\xff\xff\xff"])
def test_damaged_exif(exif: bytes) -> None:
    """EXIF that is no EXIF leaves a WebP as it is."""
    data = encoded(PICTURE, "WEBP", exif=exif, lossless=True)
    np.testing.assert_array_equal(READER.decode(data), PIXELS)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P"])
@pytest.mark.parametrize("kind", ["PNG"])
def test_grey_and_palette(kind: str, mode: str) -> None:
    """Grey, two colours and palettes become colour."""
    picture = PICTURE.convert(mode)
    np.testing.assert_array_equal(READER.decode(encoded(picture, kind)), bgr(picture))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_transparency(kind: str) -> None:
    """Transparency is dropped, whatever is under it."""
    clear = PICTURE.convert("RGBA")
    clear.putalpha(9)
    options = {"exact": True} if kind == "WEBP" else {}
    data = encoded(clear, kind, **LOSSLESS[kind], **options)
    np.testing.assert_array_equal(READER.decode(data), PIXELS)


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]], ids=["colour", "grey"])
def test_sixteen_bits(pixels: Image) -> None:
    """16 bits become 8: the upper ones."""
    data = cv2.imencode(".png", pixels.astype(np.uint16) * 256 + 99)[1].tobytes()
    expected = pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    np.testing.assert_array_equal(READER.decode(data), expected)


def test_cmyk() -> None:
    """A CMYK JPEG becomes what was printed with it."""
    pixels = READER.decode(encoded(PICTURE.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - PIXELS).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation(kind: str) -> None:
    """An animation is refused: which of its pictures is meant cannot be known."""
    data = encoded(PICTURE, kind, save_all=True, append_images=[PICTURE.rotate(180)])
    with pytest.raises(Refusal, match="is an animation"):
        READER.decode(data)


def test_too_many_pixels() -> None:
    """A file that announces too many pixels is refused before it is decoded."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I4sI", 0, b"IEND", 0xAE426082)
    with pytest.raises(Refusal, match="30000×30000 pixels, at most 50,000,000") as caught:
        READER.decode(data)
    assert caught.value.reason == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"exif": b"Exif\0\0x"}])
def test_cut_webp(options: dict[str, Any]) -> None:
    """A WebP that is cut anywhere is refused."""
    data = encoded(PICTURE, "WEBP", **options)
    for length in range(12, len(data) - 12, 40):
        with pytest.raises(Refusal) as caught:
            READER.decode(data[:length])
        assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_webp_of_many_chunks() -> None:
    """A WebP of more chunks than any writer makes is refused."""
    chunk = struct.pack("<4sI", b"JUNK", 0)
    with pytest.raises(Refusal, match="has too many chunks"):
        READER.decode(b"RIFF\0\0\0\0WEBP" + chunk * 100)


def test_no_pixels() -> None:
    """Raw pixels of no size are refused."""
    raw = RawImage(np.zeros((0, 0, 3), np.uint8), "BGR")
    with pytest.raises(Refusal, match="the image has no pixels"):
        READER.read(raw)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "JPEG2000"])
def test_other_formats(kind: str) -> None:
    """A file of another format is refused by its name."""
    with pytest.raises(Refusal, match=f"is a {kind.replace('G2', 'G 2')} file") as caught:
        READER.decode(encoded(PICTURE, kind))
    assert caught.value.reason == Reason.IMAGE_UNREADABLE
