"""Image files that no camera writes: made from parts, or from good files by damage."""

import io
import random
import re
import struct
import zlib
from typing import Any

from PIL import Image as Pillow

PNG_START = b"\x89PNG\r\n\x1a\n"
_EXTREMES = (0, 1, 2, 7, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
# What a coefficient of a progressive JPEG can have.
_BITS = 14
_PART = re.compile(rb"[A-Za-z]{3}[A-Za-z ]|\xff[\xc0-\xfe]")


def chunk(kind: bytes, body: bytes, announced: int | None = None) -> bytes:
    """Return a chunk of a PNG, which may announce another length than it has."""
    length = len(body) if announced is None else announced
    return struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return PNG_START + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )


def png(width: int, height: int, *others: bytes) -> bytes:
    """Return a black PNG of colour with other chunks before its pixels."""
    pixels = zlib.compress(bytes(height * (1 + 3 * width)), 9)
    return b"".join(
        (png_header(width, height), *others, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    )


def segment(marker: int, body: bytes, announced: int | None = None) -> bytes:
    """Return a segment of a JPEG, which may announce another length than it has."""
    length = len(body) + 2 if announced is None else announced
    return bytes((0xFF, marker)) + struct.pack(">H", length) + body


def jpeg_frame(
    width: int, height: int, components: int = 3, marker: int = 0xC2, bits: int = 8
) -> bytes:
    parts = b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    return segment(marker, struct.pack(">BHHB", bits, height, width, components) + parts)


def progressive_jpeg(width: int, height: int, scans: int, components: int = 3) -> bytes:
    """Return a grey progressive JPEG whose many scans say nothing, in as few bytes as can be."""
    blocks = -(-width // 8) * -(-height // 8)
    numbers = range(1, components + 1)
    # One code for each table: no difference, and a run of 16,384 empty blocks.
    tables = segment(0xDB, b"\0" + b"\1" * 64) + b"".join(
        segment(0xC4, bytes((table, 1)) + bytes(15) + bytes((symbol,)))
        for table, symbol in ((0x00, 0x00), (0x10, 0xE0))
    )
    averages = segment(
        0xDA, bytes((components, *(byte for n in numbers for byte in (n, 0)), 0, 0, 0))
    ) + bytes(-(-blocks * components // 8))
    runs = bytes(-(-(blocks // (1 << 14) + 1) * 15 // 8))
    others = [
        segment(0xDA, bytes((1, 1 + scan % components, 0, *_progress(scan // components)))) + runs
        for scan in range(scans - 1)
    ]
    frame = jpeg_frame(width, height, components)
    return b"".join((b"\xff\xd8", tables, frame, averages, *others, b"\xff\xd9"))


def _progress(step: int) -> tuple[int, int, int]:
    """Return the first and last coefficient of a component's scan, and which bit it adds to which.

    A bit at a time, first of some coefficients and then of the others: decoders complain otherwise.
    """
    others, done = divmod(step, _BITS)
    bit = _BITS - 1 - done
    above = bit + 1 if done else 0
    return (32, 63, above << 4 | bit) if others else (1, 31, above << 4 | bit)


def webp_chunk(kind: bytes, body: bytes, announced: int | None = None) -> bytes:
    """Return a chunk of a WebP, which may announce another length than it has."""
    length = len(body) if announced is None else announced
    return struct.pack("<4sI", kind, length) + body + bytes(len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def lossless_webp(width: int, height: int, tables: int) -> bytes:
    """Return a black lossless WebP with a set of code tables for each 4×4 pixels."""
    one_symbol = "1000"
    # Codes of eight bits for 256 symbols: the only length of a code is 8.
    eight_bits = "0" + _bits(8, 4) + "000" * 11 + "100" + "1" + _bits(3, 3) + _bits(254, 8)
    numbers = (min(number, tables - 1) for number in range(-(-width // 4) * -(-height // 4)))
    stream = "".join(
        (
            _bits(0x2F, 8) + _bits(width - 1, 14) + _bits(height - 1, 14) + "0000",
            # No transform, no cache, several sets of tables, and which of them is for what.
            "0" + "0" + "1000" + "0",
            eight_bits * 2 + one_symbol * 3,
            *(f"{number & 255:08b}{number >> 8:08b}" for number in numbers),
            one_symbol * 5 * tables,
        )
    )
    body = int(stream[::-1], 2).to_bytes(len(stream) // 8 + 1, "little")
    return webp(webp_chunk(b"VP8L", body))


def _bits(value: int, number: int) -> str:
    """Return a number's bits, the lowest first."""
    return f"{value:0{number}b}"[::-1]


def encoded(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Pillow.Exif:
    made = Pillow.Exif()
    made[0x0112] = orientation
    made[0x010E] = "a description"
    return made


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _flip_header(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(min(len(data), 64))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    start, end = sorted(chance.choices(range(len(data)), k=2))
    del data[start:end]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start, end = sorted(chance.choices(_parts(data), k=2))
    at = chance.choice(_parts(data))
    data[at:at] = data[start:end] * chance.choice((1, 1, 2, 50))


def _announce(data: bytearray, chance: random.Random) -> None:
    form, offset = chance.choice(((">I", -4), (">H", 2), ("<I", 4)))
    at = max(chance.choice(_parts(data)) + offset, 0)
    extreme = chance.choice(_EXTREMES) & (0xFFFF if form == ">H" else 0xFFFFFFFF)
    data[at : at + struct.calcsize(form)] = struct.pack(form, extreme)


def _parts(data: bytearray) -> list[int]:
    return [found.start() for found in _PART.finditer(data)] or [0]


_DAMAGES = (_flip, _flip_header, _cut, _remove, _repeat, _announce, _announce)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a file with one or a few of its bytes, parts or lengths changed."""
    changed = bytearray(data)
    while changed:
        chance.choice(_DAMAGES)(changed, chance)
        if chance.random() < 0.6:
            break
    return bytes(changed)
