"""The structure of WebP files. Sources: RFC 9649, section 2; RFC 6386 (VP8), section 9.1."""

import functools
import re
import struct
from collections.abc import Iterator

from face_embedding_server.faces.formats import exif, vp8l
from face_embedding_server.faces.formats.file import (
    ImageFile,
    ImageSize,
    UnreadableImageError,
    cut_short,
    damaged,
    printable,
    without,
)

START = re.compile(rb"RIFF....WEBP", re.DOTALL)

_START_BYTES = 12
_RIFF_SIZE = struct.Struct("<I")
_RIFF_SIZE_POSITION = 4
_CHUNK = struct.Struct("<4sI")
_EXTENDED = b"VP8X"
_EXTENDED_BYTES = 10
_ANIMATED = 0x02
_HAS_EXIF = 0x08
_ANIMATIONS = {b"ANIM", b"ANMF"}
_LOSSLESS = b"VP8L"
_EXIF = b"EXIF"
_MAX_CHUNKS = 64
_SIDE = 0x3FFF
# OpenCV takes no shorter files; what stands after the end is not read.
_MIN_BYTES = 32


def inspect(data: bytes) -> ImageFile:
    """Return what a WebP file says of itself.

    Raises:
        UnreadableImageError: if it is damaged, an animation, or has too many parts.
    """
    (announced,) = _RIFF_SIZE.unpack_from(data, _RIFF_SIZE_POSITION)
    end = _CHUNK.size + announced
    canvas: ImageSize | None = None
    picture: ImageSize | None = None
    description = b""
    lossless = (0, 0)
    dropped = []
    position = 0
    for kind, start, body, length in _chunks(data):
        position = body + length + length % 2
        if kind in _PICTURES:
            if picture:
                raise damaged(f"a second picture is at byte {start}")
            picture = _PICTURES[kind](data, body, length)
            if kind == _LOSSLESS:
                lossless = (body, body + length)
        elif kind == _EXTENDED:
            canvas = _canvas(data, body, length)
        else:
            dropped.append((start, position))
            if kind == _EXIF and not description:
                description = data[body : body + length]
        if picture and position >= end:
            break
    _check_end(len(data), end, position)
    if picture is None or canvas not in (None, picture):
        raise damaged(f"it announces a picture of {canvas}, and has one of {picture}")
    # One colour can take no bits at all, however large the picture is.
    most_pixels = picture.width * picture.height
    return ImageFile(
        picture,
        # Readers take no EXIF that the canvas does not speak of.
        exif.orientation(description) if _has_exif(data) else exif.UPRIGHT,
        most_pixels,
        _rebuilt(data, dropped, end),
        functools.partial(vp8l.check, data, *lossless, picture),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield kind, start, position of the body and its length of each chunk."""
    position = _START_BYTES
    for _ in range(_MAX_CHUNKS):
        if position >= len(data):
            return
        kind, length = _CHUNK.unpack_from(data, position)
        body = position + _CHUNK.size
        if body + length > len(data):
            raise cut_short(_name(kind), position, length, len(data) - body)
        if kind in _ANIMATIONS:
            raise UnreadableImageError("is an animation")
        if kind == _EXTENDED and position != _START_BYTES:
            raise damaged(f"{_name(kind)} at byte {position} is in the wrong place")
        yield kind, position, body, length
        position = body + length + length % 2
    raise UnreadableImageError(f"has too many chunks: at most {_MAX_CHUNKS} are taken")


def _check_end(there: int, announced: int, chunks: int) -> None:
    if announced > there:
        raise damaged(f"it announces {announced} bytes, {there} are there")
    # The last byte that makes a chunk's length even may be left out.
    if announced not in (chunks, chunks - 1):
        raise damaged(f"it announces {announced} bytes, its chunks have {chunks}")


def _rebuilt(data: bytes, dropped: list[tuple[int, int]], end: int) -> bytes:
    kept = without(data, dropped, end)
    if dropped:
        size = _RIFF_SIZE.pack(len(kept) - _CHUNK.size)
        kept = b"".join((data[:_RIFF_SIZE_POSITION], size, kept[_CHUNK.size :]))
    return kept.ljust(_MIN_BYTES, b"\0")


def _canvas(data: bytes, body: int, length: int) -> ImageSize:
    if length < _EXTENDED_BYTES:
        raise damaged("its canvas has no size")
    if data[body] & _ANIMATED:
        raise UnreadableImageError("is an animation")
    width, height = (int.from_bytes(data[at : at + 3], "little") for at in (body + 4, body + 7))
    return ImageSize(width + 1, height + 1)


def _has_exif(data: bytes) -> bool:
    kind, _ = _CHUNK.unpack_from(data, _START_BYTES)
    return kind == _EXTENDED and bool(data[_START_BYTES + _CHUNK.size] & _HAS_EXIF)


def _lossy_size(data: bytes, body: int, length: int) -> ImageSize:
    if length < 10 or data[body] & 1 or data[body + 3 : body + 6] != b"\x9d\x01\x2a":
        raise damaged("its picture has no header")
    first_part = int.from_bytes(data[body : body + 3], "little") >> 5
    if first_part > length - 10:
        raise cut_short("the picture's first part", body, first_part, length - 10)
    width, height = struct.unpack_from("<HH", data, body + 6)
    if not width & _SIDE or not height & _SIDE:
        raise damaged("its picture has no pixels")
    return ImageSize(width & _SIDE, height & _SIDE)


def _lossless_size(data: bytes, body: int, length: int) -> ImageSize:
    if length < 5 or data[body] != 0x2F:
        raise damaged("its picture has no header")
    (bits,) = struct.unpack_from("<I", data, body + 1)
    return ImageSize((bits & _SIDE) + 1, (bits >> 14 & _SIDE) + 1)


_PICTURES = {b"VP8 ": _lossy_size, _LOSSLESS: _lossless_size}


def _name(kind: bytes) -> str:
    return f"the WebP's chunk {printable(kind)}"
