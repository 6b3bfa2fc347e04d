"""What the structure of an image file says, and the errors of reading it."""

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple


class UnreadableImageError(ValueError):
    """The file is not an image that can be decoded safely; the message is a verb and the rest."""


class ImageSize(NamedTuple):
    """The size of an image, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height} pixels"


class Decoder(enum.IntEnum):
    """What decodes a file, and notices its damage."""

    JPEG = enum.auto()
    JPEG_OF_INKS = enum.auto()
    HEIC = enum.auto()
    AVIF = enum.auto()
    OTHER = enum.auto()


def nothing_more() -> None:
    """Find that all has been said of a file already."""


class ImageFile(NamedTuple):
    """An image file whose parts all fit into it.

    Args:
        size: as the file announces it, before any rotation.
        orientation: of EXIF, 1 to 8; others mean nothing.
        most_pixels: what its pixel data could hold at the format's best compression.
        data: the file without the parts that a decoder does not need.
        check: looks closer at what decoding it takes, which takes time itself for a large image;
            raises `UnreadableImageError` if it is too much.
        decoder: for its pixels.
    """

    size: ImageSize
    orientation: int
    most_pixels: int
    data: bytes
    check: Callable[[], None] = nothing_more
    decoder: Decoder = Decoder.OTHER


def damaged(what: str) -> UnreadableImageError:
    """Return the error of a file whose parts contradict each other or the file's length."""
    return UnreadableImageError(f"is damaged or cut short: {what}")


def cut_short(part: str, position: int, announced: int, there: int) -> UnreadableImageError:
    """Return the error of a part that announces more bytes than there are."""
    return damaged(
        f"{part} at byte {position} announces {announced} bytes, {max(there, 0)} are there"
    )


def printable(kind: bytes) -> str:
    """Return a chunk's kind as it can stand in a message, whatever its bytes are."""
    return ascii(kind)[2:-1]


def without(data: bytes, dropped: Iterable[tuple[int, int]], end: int) -> bytes:
    """Return a file up to an end, without some ranges of bytes, which are in order."""
    kept = []
    position = 0
    for start, stop in dropped:
        kept.append(data[position:start])
        position = stop
    return b"".join((*kept, data[position:end])) if kept or end < len(data) else data
