"""What an image file says of itself, read before any decoder sees it.

The structure of a file is walked in time that is linear in its length, and what no camera or editor
writes is refused.
"""

import re
import struct
from collections.abc import Callable

from face_embedding_server.faces.formats import jpeg, png, webp
from face_embedding_server.faces.formats.file import (
    ImageFile,
    ImageSize,
    UnreadableImageError,
    damaged,
)

__all__ = ["ImageFile", "ImageSize", "UnreadableImageError", "inspect", "read_size"]

_FORMATS: dict[re.Pattern[bytes], Callable[[bytes], ImageFile]] = {
    jpeg.START: jpeg.inspect,
    png.START: png.inspect,
    webp.START: webp.inspect,
}


def inspect(data: bytes) -> ImageFile:
    """Return what a JPEG, PNG or WebP file says of itself.

    Raises:
        UnreadableImageError: if it is neither, is damaged, or has far more parts than an image has.
    """
    for start, inspect_format in _FORMATS.items():
        if start.match(data):
            try:
                return inspect_format(data)
            except (IndexError, struct.error) as error:
                raise damaged(f"it ends amid a header, after {len(data)} bytes") from error
    raise UnreadableImageError("is not a JPEG, PNG or WebP file")


def read_size(data: bytes) -> ImageSize:
    """Return the announced size of a JPEG, PNG or WebP file, before any rotation; see `inspect`."""
    return inspect(data).size
