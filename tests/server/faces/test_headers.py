"""Reading sizes from headers."""

import struct

import cv2
import numpy as np
import pytest

from face_embedding_server.faces import headers
from face_embedding_server.faces.headers import ImageSize, UnreadableImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
PARAMETERS = {
    "baseline": (".jpg", []),
    "progressive": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "restarts": (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
    "png": (".png", []),
}


def encoded(name: str) -> bytes:
    suffix, parameters = PARAMETERS[name]
    return cv2.imencode(suffix, PIXELS, parameters)[1].tobytes()


@pytest.mark.parametrize("name", PARAMETERS)
def test_size(name: str) -> None:
    """The size is that of the image, whatever stands around it."""
    data = encoded(name)
    assert headers.read_size(data) == ImageSize(width=53, height=37)
    assert headers.read_size(data + b"trailing" * 9999) == ImageSize(width=53, height=37)


def test_large_photograph() -> None:
    """A photograph of 12 megapixels with a large profile and preview is fine."""
    photograph = cv2.resize(PIXELS, (4000, 3000), interpolation=cv2.INTER_NEAREST)
    profile = b"\xff\xe2" + struct.pack(">H", 65535) + bytes(65533)
    jpeg = cv2.imencode(".jpg", photograph)[1].tobytes()
    assert headers.read_size(jpeg[:2] + profile * 60 + jpeg[2:]) == ImageSize(4000, 3000)
    png = cv2.imencode(".png", photograph, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    assert headers.read_size(png) == ImageSize(4000, 3000)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a JPEG, PNG, WebP, AVIF or HEIC"),
        (b"\xff\xd8", "is damaged or cut short"),
        (b"\xff\xd8junk", "is damaged or cut short"),
        (b"\xff\xd8\xff\xd9", "is damaged or cut short"),
        (
            b"\xff\xd8\xff\xc3" + bytes((0, 11, 8, 0, 9, 0, 9, 0, 0, 0, 0)) + b"\xff\xda\0\2",
            "kind of JPEG",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "is damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0", "is damaged or cut short"),
    ],
    ids=["empty", "start", "junk", "nothing", "lossless", "no header", "cut header"],
)
def test_refused(data: bytes, message: str) -> None:
    """What is no image is refused in words."""
    with pytest.raises(UnreadableImageError, match=message):
        headers.read_size(data)
