"""The structure of JPEG files. Sources: ITU-T T.81, annex B; ITU-T T.871 (JFIF); Exif 2.32."""

import re
import struct
from collections.abc import Iterator

from face_embedding_server.faces.formats import exif
from face_embedding_server.faces.formats.file import (
    ImageFile,
    ImageSize,
    UnreadableImageError,
    cut_short,
    damaged,
    without,
)

START = re.compile(rb"\xff\xd8")

_START_BYTES = 2
_END_OF_IMAGE = 0xD9
_SCAN = 0xDA
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
_COMPONENTS = {1, 3, 4}
_MAX_SAMPLING = 4
# Within pixel data, a marker is 0xFF followed by neither 0x00 nor a restart marker.
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Photographs with profiles, previews and metadata stay well below these.
_MAX_SEGMENTS = 300
_MAX_FILL_BYTES = 64
# Each costs a pass over the picture. Encoders write about ten, the most thorough some twenty.
_MAX_SCANS = 64
# The shortest code of a block of 8×8 samples is one bit.
_MOST_SAMPLES_PER_BYTE = 8 * 64


def inspect(data: bytes) -> ImageFile:
    """Return what a JPEG file says of itself.

    Raises:
        UnreadableImageError: if it is damaged, of another process, or has too many parts.
    """
    frame: tuple[ImageSize, float] | None = None
    orientation: int | None = None
    scans = pixel_bytes = end = 0
    dropped = []
    for marker, start, body, end in _segments(data):
        if marker in _DESCRIPTIONS:
            dropped.append((start, end))
            if marker == _EXIF and orientation is None:
                orientation = _orientation(data, body, end)
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
    size, samples_per_pixel = frame
    return ImageFile(
        size,
        orientation or exif.UPRIGHT,
        int(pixel_bytes * _MOST_SAMPLES_PER_BYTE / samples_per_pixel),
        without(data, dropped, end),
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield marker, start, body and end of each segment; a scan ends with its pixel data."""
    end = _START_BYTES
    for _ in range(_MAX_SEGMENTS):
        start = end
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


def _after_fill(data: bytes, start: int) -> int:
    """Return the position of a marker's second byte; any number of 0xFF may stand before it."""
    position = start
    while data[position] == 0xFF:
        position += 1
        if position - start > _MAX_FILL_BYTES:
            raise UnreadableImageError(f"has too much padding at byte {start}")
    if position == start or not data[position]:
        raise damaged(f"no segment begins at byte {start}")
    return position


def _frame(data: bytes, marker: int, position: int, end: int) -> tuple[ImageSize, float]:
    """Return the size that a frame header announces, and the samples for each pixel."""
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
    return ImageSize(width, height), samples / (max(across) * max(down))


def _orientation(data: bytes, position: int, end: int) -> int | None:
    if not data.startswith(exif.PREFIX, position, end):
        return None
    return exif.orientation(data[position + len(exif.PREFIX) : end])
