"""The structure of JPEG files.

Sources: ITU-T T.81, annexes B and C; ITU-T T.871 (JFIF); Exif 2.32.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from face_embedding_server.faces.formats import exif
from face_embedding_server.faces.formats.file import (
    Decoder,
    ImageFile,
    ImageSize,
    UnreadableImageError,
    cut_short,
    damaged,
)

START = re.compile(rb"\xff\xd8")

_START_BYTES = 2
_END_OF_IMAGE = 0xD9
_SCAN = 0xDA
_CODES = 0xC4
_JFIF = 0xE0
_EXIF = 0xE1
# Processes that decoders know: baseline, extended, progressive; and the markers of all frames.
_KNOWN_FRAMES = {0xC0, 0xC1, 0xC2}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xCC}
# They say what the picture is, not how it is coded, as those of JFIF (0xE0) and Adobe (0xEE) do.
_DESCRIPTIONS = {*range(0xE1, 0xF0), 0xFE} - {0xEE}
# Markers that no length follows: TEM, restarts, start and end.
_LONE = {0x01, *range(0xD0, 0xDA)}
_LENGTH = struct.Struct(">H")
_FRAME = struct.Struct(">BHHB")
_FRAME_COMPONENT_BYTES = 3
# Grey, colour, and the four inks.
_INKS = 4
_COMPONENTS = {1, 3, _INKS}
_MAX_SAMPLING = 4
# Within pixel data, a marker is 0xFF followed by neither 0x00 nor a restart marker.
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Photographs with profiles, previews and metadata stay well below these.
_MAX_SEGMENTS = 300
_MAX_FILL_BYTES = 64
# Decoders skip what stands between two segments; a few writers leave something there.
_NEXT_SEGMENT = re.compile(rb"[^\xff]{0,64}\xff")
_JFIF_PREFIX = b"JFIF\0"
_JFIF_MAJOR_VERSION = 1
# What a lost part of a file reads as.
_LOST = bytes(64)
# Symbols that end one block or a run of them; but the last skips 16 coefficients.
_ENDS_OF_BLOCKS = range(0x00, 0xF0, 0x10)
# Before the symbols of a table of codes: its class and number, and how many codes have each of 16
# lengths.
_CODES_HEADER_BYTES = 17
_COEFFICIENTS = 0x10
# Each costs a pass over the picture. Encoders write about ten, the most thorough some twenty.
_MAX_SCANS = 64
# The shortest code of a block of 8×8 samples is one bit.
_MOST_SAMPLES_PER_BYTE = 8 * 64


class _Frame(NamedTuple):
    """What a frame header says."""

    size: ImageSize
    samples_per_pixel: float
    components: int


def inspect(data: bytes) -> ImageFile:
    """Return what a JPEG file says of itself.

    Raises:
        UnreadableImageError: if it is damaged, of another process, or has too many parts.
    """
    frame: _Frame | None = None
    scans = pixel_bytes = 0
    kept = [data[:_START_BYTES]]
    descriptions = []
    for marker, start, body, end in _segments(data):
        if marker not in _DESCRIPTIONS and (marker != _JFIF or _is_known_jfif(data, body)):
            kept.append(data[start:end])
        if marker == _EXIF and data.startswith(exif.PREFIX, body):
            descriptions.append(data[body + len(exif.PREFIX) : end])
        elif marker in _FRAMES:
            if frame:
                raise damaged(f"a second frame header is at byte {start}")
            frame = _frame(data, marker, body, end)
        elif marker == _SCAN:
            scans += 1
            pixel_bytes += end - body
    if frame is None or not scans:
        raise damaged("it has no picture")
    if scans > _MAX_SCANS:
        raise UnreadableImageError(f"has too many scans: {scans}, at most {_MAX_SCANS} are taken")
    stripped = b"".join(kept)
    _check_lost(stripped)
    return ImageFile(
        frame.size,
        # What does not fit into one segment goes on in the next.
        exif.orientation(b"".join(descriptions)) if descriptions else exif.UPRIGHT,
        int(pixel_bytes * _MOST_SAMPLES_PER_BYTE / frame.samples_per_pixel),
        stripped,
        decoder=Decoder.JPEG_OF_INKS if frame.components == _INKS else Decoder.JPEG,
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield marker, start, body and end of each segment; a scan ends with its pixel data."""
    end = _START_BYTES
    for _ in range(_MAX_SEGMENTS):
        start = end if data[end] == 0xFF else _start_of_segment(data, end)
        at = start + 1
        if not 0 < data[at] < 0xFF:
            at = _after_fill(data, start)
        marker = data[at]
        body = end = at + 1
        if marker not in _LONE:
            (length,) = _LENGTH.unpack_from(data, body)
            end += length
            if length < _LENGTH.size or end > len(data):
                raise cut_short(f"the segment {marker:02X}", start, length, len(data) - body)
            body += _LENGTH.size
            if marker == _SCAN:
                end = _end_of_scan(data, start, end)
        yield marker, start, body, end
        if marker == _END_OF_IMAGE:
            return
    raise UnreadableImageError(f"has too many segments: at most {_MAX_SEGMENTS} are taken")


def _end_of_scan(data: bytes, start: int, position: int) -> int:
    found = _NEXT_MARKER.search(data, position)
    if found is None:
        raise damaged(f"the scan at byte {start} has no end")
    return found.start()


def _start_of_segment(data: bytes, position: int) -> int:
    found = _NEXT_SEGMENT.match(data, position)
    if found is None:
        raise damaged(f"no segment begins at byte {position}")
    return found.end() - 1


def _after_fill(data: bytes, start: int) -> int:
    """Return the position of a marker's second byte; any number of 0xFF may stand before it."""
    position = start
    while data[position] == 0xFF:
        position += 1
        if position - start > _MAX_FILL_BYTES:
            raise UnreadableImageError(f"has too much padding at byte {start}")
    if not data[position]:
        raise damaged(f"no segment begins at byte {start}")
    return position


def _frame(data: bytes, marker: int, position: int, end: int) -> _Frame:
    bits, height, width, components = _FRAME.unpack_from(data, position)
    if marker not in _KNOWN_FRAMES or bits != 8 or components not in _COMPONENTS:
        raise UnreadableImageError(
            f"is of a kind of JPEG that is not supported: process {marker - 0xC0}, {bits} bits, "
            f"{components} components"
        )
    first = position + _FRAME.size
    if end != first + components * _FRAME_COMPONENT_BYTES or not width * height:
        raise damaged("its frame header contradicts itself")
    factors = data[first + 1 : end : _FRAME_COMPONENT_BYTES]
    across = [factor >> 4 for factor in factors]
    down = [factor & 15 for factor in factors]
    if min(across + down) < 1 or max(across + down) > _MAX_SAMPLING:
        raise damaged("its sampling factors are not from 1 to 4")
    samples = sum(a * d for a, d in zip(across, down, strict=True))
    samples_per_pixel = samples / (max(across) * max(down))
    return _Frame(ImageSize(width, height), samples_per_pixel, components)


def _is_known_jfif(data: bytes, position: int) -> bool:
    """Tell whether a decoder knows a version of JFIF: else it complains of it, and of nothing more.

    It does not have to know it: JPEGs without JFIF are common.
    """
    end = position + len(_JFIF_PREFIX)
    return data[position:end] != _JFIF_PREFIX or data[end] == _JFIF_MAJOR_VERSION


def _check_lost(data: bytes) -> None:
    """Refuse pixel data with a part that was lost, which reads as zeros, and which decoders take.

    As long a run of zeros can only mean something if it means blocks without coefficients.
    """
    if _LOST not in data:
        return
    zeros_mean: dict[int, int] = {}
    for marker, _, body, end in _segments(data):
        if marker == _CODES:
            zeros_mean.update(_zero_codes(data[body:end]))
        elif marker == _SCAN and (lost := data.find(_LOST, body, end)) >= 0:
            # A scan begins with the number of its components, and for each its number and tables;
            # its first and last coefficient follow. One of averages alone may be all zeros.
            components = data[body]
            last = data[body + 2 + 2 * components]
            symbol = zeros_mean.get(_COEFFICIENTS | data[body + 2] & 15, 0)
            if last and symbol not in _ENDS_OF_BLOCKS:
                raise damaged(f"from byte {lost} of its pixels on are zeros that mean nothing")


def _zero_codes(tables: bytes) -> Iterator[tuple[int, int]]:
    """Yield class and number of each table of codes, and the symbol whose code is all zeros."""
    while tables:
        symbols = sum(tables[1:_CODES_HEADER_BYTES])
        yield tables[0], tables[_CODES_HEADER_BYTES]
        tables = tables[_CODES_HEADER_BYTES + symbols :]
