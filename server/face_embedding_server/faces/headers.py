"""What the header of an image file says, read before any decoder sees the file.

Decoders trust their input: a file of a few kilobytes can announce gigapixels, and one with a
hundred thousand markers keeps libjpeg busy for minutes. Here the structure of a file is walked in
time that is linear in its length, and what no camera or editor writes is refused.

Sources: ITU-T T.81 (JPEG), annex B; the PNG specification, third edition, sections 5 and 11;
RFC 9649 (WebP), section 2; RFC 6386 (VP8), section 9.1; Exif 2.32, section 4.6.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Photographs with profiles, previews and metadata stay well below these.
_MAX_JPEG_SEGMENTS = 300
_MAX_JPEG_FILL_BYTES = 64
_MAX_PNG_ANCILLARY_CHUNKS = 64
# Writers cut pixel data into chunks of 8 KiB or more; some allowance for tiny images.
_MAX_PNG_DATA_CHUNKS = 64
_MIN_PNG_DATA_CHUNK_BYTES = 1024

_JPEG_START = b"\xff\xd8"
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
# Frame headers of the processes that decoders know: baseline, extended, progressive.
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
# Within pixel data, a marker is 0xFF followed by neither 0x00 nor a restart marker.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK = struct.Struct(">I4s")
_PNG_CHECKSUM_BYTES = 4
_MAX_WEBP_CHUNKS = 64
_WEBP_START = re.compile(rb"RIFF....WEBP", re.DOTALL)
_WEBP_START_BYTES = 12
_WEBP_CHUNK = struct.Struct("<4sI")
_WEBP_ANIMATION = 0x02
_EXIF_PREFIX = b"Exif\0\0"
_EXIF_ORIENTATION = 0x0112
_EXIF_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_UPRIGHT = 1


class UnreadableImageError(ValueError):
    """The file is not an image that can be decoded safely; the message is a verb and the rest."""


@dataclass(frozen=True)
class ImageSize:
    """The size that a file's header announces, in pixels."""

    width: int
    height: int


def read_size(data: bytes) -> ImageSize:
    """Return the announced size of a JPEG, PNG or WebP file, before any rotation.

    Raises:
        UnreadableImageError: if it is neither, is damaged, or has far more parts than an image has.
    """
    try:
        if data.startswith(_JPEG_START):
            return _jpeg_size(data)
        if data.startswith(_PNG_START):
            return _png_size(data)
        if is_webp(data):
            return _webp_size(data)
    except (IndexError, struct.error) as error:
        raise UnreadableImageError("is damaged or cut short") from error
    raise UnreadableImageError("is not a JPEG, PNG or WebP file")


def is_webp(data: bytes) -> bool:
    """Return whether a file is a WebP file."""
    return bool(_WEBP_START.match(data))


def webp_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a WebP file that `read_size` has taken."""
    for kind, body, length in _webp_chunks(data):
        if kind == b"EXIF":
            try:
                return _exif_orientation(data[body : body + length].removeprefix(_EXIF_PREFIX))
            except struct.error:
                break
    return _UPRIGHT


def _jpeg_size(data: bytes) -> ImageSize:
    size: ImageSize | None = None
    position = len(_JPEG_START)
    for _ in range(_MAX_JPEG_SEGMENTS):
        start = position
        while data[position] == 0xFF:
            position += 1
            if position - start > _MAX_JPEG_FILL_BYTES:
                raise UnreadableImageError("has too much padding")
        marker = data[position]
        if position == start or marker in (0x00, _JPEG_END):
            raise UnreadableImageError("is damaged or cut short")
        (length,) = struct.unpack_from(">H", data, position + 1)
        if marker in _JPEG_FRAMES and size is None:
            height, width = struct.unpack_from(">HH", data, position + 4)
            size = ImageSize(width, height)
        position += 1 + length
        if marker == _JPEG_SCAN:
            break
    else:
        raise UnreadableImageError("has too many segments")
    end = data.find(bytes((0xFF, _JPEG_END)), position)
    markers = _JPEG_MARKER.finditer(data, position, end if end >= 0 else len(data))
    if sum(1 for _ in zip(markers, range(_MAX_JPEG_SEGMENTS + 1), strict=False)) > (
        _MAX_JPEG_SEGMENTS
    ):
        raise UnreadableImageError("has too many scans")
    if size is None:
        raise UnreadableImageError("is of a kind of JPEG that is not supported")
    return size


def _png_size(data: bytes) -> ImageSize:
    position = len(_PNG_START)
    if data[position + 4 : position + 8] != b"IHDR":
        raise UnreadableImageError("is damaged or cut short")
    width, height = struct.unpack_from(">II", data, position + 8)
    pixel_chunks = other_chunks = 0
    while position < len(data):
        length, kind = _PNG_CHUNK.unpack_from(data, position)
        if kind == b"IEND":
            break
        if kind == b"acTL":
            raise UnreadableImageError("is an animation")
        pixel_chunks += kind == b"IDAT"
        other_chunks += kind != b"IDAT"
        if other_chunks > _MAX_PNG_ANCILLARY_CHUNKS or pixel_chunks > (
            _MAX_PNG_DATA_CHUNKS + len(data) // _MIN_PNG_DATA_CHUNK_BYTES
        ):
            raise UnreadableImageError("has too many chunks")
        position += _PNG_CHUNK.size + length + _PNG_CHECKSUM_BYTES
    return ImageSize(width, height)


def _webp_size(data: bytes) -> ImageSize:
    sizes = []
    for kind, body, _ in _webp_chunks(data):
        if kind == b"VP8X":
            if data[body] & _WEBP_ANIMATION:
                raise UnreadableImageError("is an animation")
            width, height = (
                int.from_bytes(data[at : at + 3], "little") for at in (body + 4, body + 7)
            )
            sizes.append(ImageSize(width + 1, height + 1))
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, body + 6)
            sizes.append(ImageSize(width & 0x3FFF, height & 0x3FFF))
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, body + 1)
            sizes.append(ImageSize((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
    if not sizes:
        raise UnreadableImageError("is damaged or cut short")
    # The canvas and the picture on it: neither may be larger than what is checked.
    return ImageSize(max(size.width for size in sizes), max(size.height for size in sizes))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, position and length of each chunk."""
    position = _WEBP_START_BYTES
    for _ in range(_MAX_WEBP_CHUNKS):
        if position >= len(data):
            return
        kind, length = _WEBP_CHUNK.unpack_from(data, position)
        position += _WEBP_CHUNK.size
        yield kind, position, length
        position += length + length % 2
    raise UnreadableImageError("has too many chunks")


def _exif_orientation(tiff: bytes) -> int:
    order = _EXIF_BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return _UPRIGHT
    (position,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, position)
    for entry in range(position + 2, position + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == _EXIF_ORIENTATION:
            return int(value)
    return _UPRIGHT
