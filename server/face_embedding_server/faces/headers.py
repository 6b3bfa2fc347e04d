"""What an image file says of itself, read before any decoder sees it.

The structure of a file is walked in time that is linear in its length, and what no camera or editor
writes is refused.
"""

import re
import struct
from collections.abc import Callable

from face_embedding_server.faces.formats import heif, jpeg, png, webp
from face_embedding_server.faces.formats.file import (
    ImageFile,
    ImageSize,
    UnreadableImageError,
    damaged,
)

__all__ = ["NAMES", "ImageFile", "ImageSize", "UnreadableImageError", "inspect", "read_size"]

# In words, for messages.
NAMES = "JPEG, PNG, WebP, AVIF or HEIC"

_FORMATS: dict[re.Pattern[bytes], Callable[[bytes], ImageFile]] = {
    jpeg.START: jpeg.inspect,
    png.START: png.inspect,
    webp.START: webp.inspect,
    heif.START: heif.inspect,
}
# What others begin with, to say what was sent.
_OTHERS: dict[str, re.Pattern[bytes]] = {
    "a TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "a GIF": re.compile(rb"GIF8[79]a"),
    "a BMP": re.compile(rb"BM.{4}\0{4}", re.DOTALL),
    "a JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "a JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "a PDF": re.compile(rb"%PDF-"),
}


def inspect(data: bytes) -> ImageFile:
    """Return what a JPEG, PNG, WebP, AVIF or HEIC file says of itself.

    Raises:
        UnreadableImageError: if it is none, is damaged, or has far more parts than an image has.
    """
    for start, inspect_format in _FORMATS.items():
        if start.match(data):
            try:
                return inspect_format(data)
            except (IndexError, struct.error) as error:
                raise damaged(f"it ends amid a header, after {len(data)} bytes") from error
    for name, start in _OTHERS.items():
        if start.match(data):
            raise UnreadableImageError(f"is {name} file, which is not a {NAMES} file")
    raise UnreadableImageError(f"is not a {NAMES} file")


def read_size(data: bytes) -> ImageSize:
    """Return the announced size of an image file, before any rotation; see `inspect`."""
    return inspect(data).size
