"""The structure of PNG files. Source: the PNG specification, third edition, sections 5 and 11."""

import functools
import re
import struct
import zlib
from collections.abc import Sequence

from face_embedding_server.faces.formats import exif
from face_embedding_server.faces.formats.file import (
    ImageFile,
    ImageSize,
    UnreadableImageError,
    cut_short,
    damaged,
    nothing_more,
    printable,
    without,
)

START = re.compile(rb"\x89PNG\r\n\x1a\n")

_START_BYTES = 8
_CHUNK = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4
_HEADER = struct.Struct(">IIBBBBB")
_PIXELS = b"IDAT"
_END = b"IEND"
_NEEDED = {b"PLTE", b"tRNS"}
# The first letter of what a decoder may leave out is small.
_SMALL = 0x20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {1, 2, 4, 8, 16}
_MAX_OTHER_CHUNKS = 64
# Writers cut pixel data into chunks of 8 KiB or more; some allowance for tiny images.
_MAX_PIXEL_CHUNKS = 64
_MIN_PIXEL_CHUNK_BYTES = 1024
# What had EXIF before there was a chunk for it.
_RAW_PROFILE = re.compile(rb"Raw profile type (?:exif|APP1)\0")
# EXIF has 64 KB at most, each byte as two letters.
_MOST_PROFILE_BYTES = 1 << 18
# Deflate's best: 258 bytes in two bits.
_MOST_BITS_PER_BYTE = 8 * 258 * 4
# Decoders unfold also what comes after the last pixel, to no end. These unfold to 66 MB, in 0.1 s.
_FREE_PIXEL_BYTES = 64 << 10
_UNFOLDED_AT_A_TIME = 1 << 20
# A row has a byte that says how it is filtered; interlaced there are nearly twice as many rows, and
# each may end amid a byte.
_MOST_MORE_PER_ROW = 4


def inspect(data: bytes) -> ImageFile:
    """Return what a PNG file says of itself.

    Raises:
        UnreadableImageError: if it is damaged, an animation, or has too many parts.
    """
    size, bits_per_pixel = _header(data)
    most_pixel_chunks = _MAX_PIXEL_CHUNKS + len(data) // _MIN_PIXEL_CHUNK_BYTES
    description = profile = b""
    pixel_chunks = pixel_bytes = other_chunks = 0
    dropped = []
    pixels = []
    position = _START_BYTES + _CHUNK.size + _HEADER.size + _CHECKSUM_BYTES
    while True:
        length, kind = _CHUNK.unpack_from(data, position)
        body = position + _CHUNK.size
        end = body + length + _CHECKSUM_BYTES
        if end > len(data):
            raise cut_short(_name(kind), position, length, len(data) - body - _CHECKSUM_BYTES)
        if kind == _END:
            break
        if kind == _PIXELS:
            pixel_chunks += 1
            pixel_bytes += length
            pixels.append((body, body + length))
        else:
            other_chunks += 1
            if kind not in _NEEDED:
                _check_unneeded(kind, position)
                dropped.append((position, end))
                if kind == b"eXIf":
                    description = data[body : body + length]
                elif not profile and _RAW_PROFILE.match(data, body):
                    profile = _raw_profile(kind, data[body : body + length])
        if pixel_chunks > most_pixel_chunks or other_chunks > _MAX_OTHER_CHUNKS:
            raise UnreadableImageError(
                f"has too many chunks: at most {most_pixel_chunks} of pixels and "
                f"{_MAX_OTHER_CHUNKS} others are taken"
            )
        position = end
    most_pixels = pixel_bytes * _MOST_BITS_PER_BYTE // bits_per_pixel
    orientation = exif.orientation(description or profile)
    most_bytes = _FREE_PIXEL_BYTES + size.height * (
        size.width * bits_per_pixel // 8 + _MOST_MORE_PER_ROW
    )
    return ImageFile(
        size,
        orientation,
        most_pixels,
        without(data, dropped, end),
        functools.partial(_check_unfolded, data, pixels, most_bytes)
        if pixel_bytes > _FREE_PIXEL_BYTES
        else nothing_more,
    )


def _check_unfolded(data: bytes, pixels: Sequence[tuple[int, int]], most_bytes: int) -> None:
    """Refuse pixel data that go on far behind the last pixel."""
    unfolding = zlib.decompressobj()
    for start, end in pixels:
        for at in range(start, end, _FREE_PIXEL_BYTES):
            left = data[at : min(end, at + _FREE_PIXEL_BYTES)]
            while left and not unfolding.eof:
                try:
                    most_bytes -= len(unfolding.decompress(left, _UNFOLDED_AT_A_TIME))
                except zlib.error:
                    return  # Its decoder comes no further than this, and says so.
                if most_bytes < 0:
                    raise damaged("its pixel data go on behind its last pixel")
                left = unfolding.unconsumed_tail


def _header(data: bytes) -> tuple[ImageSize, int]:
    """Return the size that the first chunk announces, and the bits of a pixel."""
    length, kind = _CHUNK.unpack_from(data, _START_BYTES)
    if kind != b"IHDR" or length != _HEADER.size:
        raise damaged("it does not begin with its header")
    width, height, depth, colour, *_ = _HEADER.unpack_from(data, _START_BYTES + _CHUNK.size)
    if colour not in _CHANNELS or depth not in _DEPTHS or not width * height:
        raise damaged("its header contradicts itself")
    return ImageSize(width, height), _CHANNELS[colour] * depth


def _raw_profile(kind: bytes, text: bytes) -> bytes:
    """Return EXIF as ImageMagick writes it into a text: hexadecimal, after three lines."""
    _, _, rest = text.partition(b"\0")
    try:
        if kind == b"zTXt":
            # After a byte that says how it is compressed.
            rest = zlib.decompressobj().decompress(rest[1:], _MOST_PROFILE_BYTES)
        # No more lines are split off than have to be: each takes memory.
        digits = b"".join(rest[:_MOST_PROFILE_BYTES].split(b"\n", 3)[3:])
        return bytes.fromhex(digits.decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _check_unneeded(kind: bytes, position: int) -> None:
    if kind == b"acTL":
        raise UnreadableImageError("is an animation")
    if not kind[0] & _SMALL:
        raise damaged(f"{_name(kind)} at byte {position} is not known, or in the wrong place")


def _name(kind: bytes) -> str:
    return f"the PNG's chunk {printable(kind)}"
