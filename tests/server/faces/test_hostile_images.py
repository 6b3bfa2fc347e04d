"""Hostile image files: none makes a decoder take more than its headers and its length justify."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces import headers
from face_embedding_server.faces.formats import vp8l
from face_embedding_server.faces.images import ImageReader
from face_embedding_server.limits import DEFAULT_MAX_IMAGE_PIXELS
from support import hostile_images as made
from support.measured_decoding import Decoded, decode_measured

READER = ImageReader()
PICTURE = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
CLEAR = PICTURE.convert("RGBA")
CLEAR.putalpha(PICTURE.convert("L"))
EXIF = made.exif(6)
PROFILE = bytes(9000)
TEXT = b"comment\0\0" + zlib.compress(bytes(5_000_000))
# Where EXIF is looked for. If they are told apart, each line takes 16 bytes and more.
LINES = b"Raw profile type exif\0" + b"\n" * 2_000_000

# What docs/security.md states; measured: 11.1 bytes a pixel for a progressive JPEG of four inks.
PEAK_BYTES_PER_PIXEL = 12
# Tables of the decoders, copies of the file, and what the allocator keeps.
PEAK_MORE_BYTES = 16 << 20
# Of lossless WebP alone; measured: 5.6 KB.
PEAK_BYTES_PER_TABLE = 20_000
# Measured for any damaged file: 0.02 s.
PROCESSOR_S = 1.0

JPEG = made.encoded(PICTURE, "JPEG")
PNG = made.encoded(PICTURE, "PNG")
WEBP = made.encoded(PICTURE, "WEBP")
GOOD = {
    "JPEG": JPEG,
    "progressive JPEG": made.encoded(PICTURE, "JPEG", progressive=True, exif=EXIF),
    "JPEG of four inks": made.encoded(PICTURE.convert("CMYK"), "JPEG", progressive=True),
    "JPEG with restarts": made.encoded(PICTURE, "JPEG", restart_marker_blocks=2),
    "MPO": made.encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
    "PNG": PNG,
    "PNG with all": made.encoded(PICTURE, "PNG", exif=EXIF, icc_profile=PROFILE, dpi=(72, 72)),
    "PNG with a palette": made.encoded(PICTURE.convert("P"), "PNG", transparency=3),
    "WebP": WEBP,
    "WebP with all": made.encoded(CLEAR, "WEBP", exif=EXIF, icc_profile=PROFILE, xmp=b"<x/>"),
    "lossless WebP": made.encoded(CLEAR, "WEBP", lossless=True, exif=EXIF),
    # Large enough to have many tables.
    "large lossless WebP": made.encoded(CLEAR.resize((320, 300)), "WEBP", lossless=True),
}
# The canvas of 64×48 pixels.
CANVAS = made.webp_chunk(b"VP8X", bytes((8, 0, 0, 0, 63, 0, 0, 47, 0, 0)))

REFUSED = {
    "PNG, chunk of 4 GB": (
        made.png_header(112, 112) + made.chunk(b"gAMA", b"", 0xFFFFFFFF),
        "PNG's chunk gAMA at byte 33 announces 4294967295 bytes, 0 are there",
    ),
    "PNG, pixels of 2 GB": (
        made.png_header(112, 112) + made.chunk(b"IDAT", b"x", 0x7FFFFFFF),
        "PNG's chunk IDAT at byte 33 announces 2147483647 bytes, 1 are there",
    ),
    "PNG, header of 1 GB": (
        made.PNG_START + made.chunk(b"IHDR", bytes(13), 0x40000000),
        "does not begin with its header",
    ),
    "PNG, second header": (
        made.png(9, 9, made.png_header(9, 9)[8:]),
        "chunk IHDR at byte 33 is not known, or in the wrong place",
    ),
    "PNG, control characters": (made.png(9, 9, made.chunk(b"A\0\n\xff", b"")), r"A\\x00\\n\\xff"),
    "PNG, colour 7": (made.png_header(9, 9, colour=7), "its header contradicts itself"),
    "PNG, no width": (made.png_header(0, 9), "its header contradicts itself"),
    "PNG, no end": (PNG[:-12], "is damaged or cut short"),
    "PNG, few bytes": (
        made.png_header(7000, 7000) + made.chunk(b"IDAT", bytes(99)) + made.chunk(b"IEND", b""),
        "announces 7000×7000 pixels, and its pixel data can hold at most 34,056",
    ),
    "PNG, no pixels": (
        made.png_header(9, 9) + made.chunk(b"IEND", b""),
        "announces 9×9 pixels, and its pixel data can hold at most 0",
    ),
    "PNG, many chunks": (made.png(9, 9, made.chunk(b"tEXt", b"a\0b") * 99), "has too many chunks"),
    "PNG, animation": (made.png(9, 9, made.chunk(b"acTL", bytes(8))), "is an animation"),
    "JPEG, long segment": (
        b"\xff\xd8" + made.segment(0xDB, bytes(9), 65535),
        "the segment DB at byte 2 announces 65535 bytes, 11 are there",
    ),
    "JPEG, short segment": (b"\xff\xd8" + made.segment(0xDB, b"", 1), "announces 1 bytes, 2 are"),
    "JPEG, two frames": (
        JPEG[:2] + made.jpeg_frame(9000, 9000) + JPEG[2:],
        "a second frame header is at byte",
    ),
    "JPEG, two pictures": (JPEG[:-2] + JPEG[2:], "a second frame header is at byte"),
    "JPEG, 12 bits": (b"\xff\xd8" + made.jpeg_frame(9, 9, bits=12), "not supported.* 12 bits"),
    "JPEG, arithmetic": (b"\xff\xd8" + made.jpeg_frame(9, 9, marker=0xC9), "supported.*process 9"),
    "JPEG, ten components": (b"\xff\xd8" + made.jpeg_frame(9, 9, 10), "10 components"),
    "JPEG, height to come": (b"\xff\xd8" + made.jpeg_frame(9, 0), "contradicts itself"),
    "JPEG, sampling": (
        JPEG.replace(b"\x01\x22\x00\x02\x11", b"\x01\xff\x00\x02\x11"),
        "sampling factors are not from 1 to 4",
    ),
    "JPEG, many scans": (made.progressive_jpeg(64, 48, 65), "too many scans: 65, at most 64"),
    "JPEG, many segments": (
        JPEG[:2] + made.segment(0xFE, b"") * 300 + JPEG[2:],
        "has too many segments",
    ),
    "JPEG, padding": (JPEG[:2] + b"\xff" * 99 + JPEG[2:], "has too much padding"),
    "JPEG, no end": (JPEG[:-2], "the scan at byte .* has no end"),
    "JPEG, few bytes": (
        made.progressive_jpeg(64, 48, 1).replace(b"\0\x30\0\x40\3", b"\x1b\x58\x1b\x58\3"),
        "announces 7000×7000 pixels, and its pixel data can hold at most",
    ),
    "WebP, long chunk": (
        made.webp(made.webp_chunk(b"VP8 ", b"", 0xFFFFFFF0)),
        "WebP's chunk VP8  at byte 12 announces 4294967280 bytes, 0 are there",
    ),
    "WebP, first part": (
        WEBP[:20] + b"\xf0\xff\xff" + WEBP[23:],
        "the picture's first part at byte 20 announces 524287 bytes",
    ),
    "WebP, long file": (WEBP[:4] + b"\xff\xff\xff\xff" + WEBP[8:], "announces 4294967303 bytes"),
    "WebP, short file": (WEBP[:4] + bytes(4) + WEBP[8:], "announces 8 bytes, its chunks have"),
    "WebP, other canvas": (
        made.webp(made.webp_chunk(b"VP8X", b"\0" * 4 + b"\xff\x0f\0" * 2), WEBP[12:]),
        "announces a picture of 4096×4096 pixels, and has one of 64×48",
    ),
    "WebP, two pictures": (made.webp(WEBP[12:], WEBP[12:]), "a second picture is at byte"),
    "WebP, late canvas": (
        made.webp(WEBP[12:], made.webp_chunk(b"VP8X", bytes(10))),
        "VP8X at byte .* is in the wrong place",
    ),
    "WebP, no picture": (
        made.webp(made.webp_chunk(b"VP8X", bytes(10))),
        "announces a picture of 1×1 pixels, and has one of None",
    ),
    "WebP, frames": (made.webp(made.webp_chunk(b"ANMF", bytes(16)), WEBP[12:]), "is an animation"),
    "WebP, tables": (
        made.lossless_webp(1024, 1024, 2),
        "has codes for each of 65,536 blocks, at most 4,096 are taken",
    ),
    "WebP, transform": (
        made.webp(made.webp_chunk(b"VP8L", b"\x2f\xff\xc3\xff\x00\x01" + bytes(9))),
        "has a transform of 65,536 blocks, at most 16,384 are taken",
    ),
    "PNG, pixel data without an end": (
        made.png_header(112, 112)
        + made.chunk(b"IDAT", zlib.compress(bytes(80_000_000)))
        + made.chunk(b"IEND", b""),
        "its pixel data go on behind its last pixel",
    ),
    "WebP, no key frame": (WEBP[:20] + b"\xff" + WEBP[21:], "its picture has no header"),
}


def within_bounds(measured: Decoded, file: bytes) -> bool:
    pixels = min(measured.announced_pixels, DEFAULT_MAX_IMAGE_PIXELS)
    allowed = PEAK_BYTES_PER_PIXEL * pixels + 4 * len(file) + PEAK_MORE_BYTES
    return measured.peak_bytes < allowed and measured.processor_s < PROCESSOR_S


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, message: str) -> None:
    """What contradicts itself, or is too much, is refused in words."""
    with pytest.raises(Refusal, match=message) as caught:
        READER.decode(data)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_too_long_a_side() -> None:
    """A side longer than decoders take is said to be so."""
    with pytest.raises(
        Refusal, match="has 2000000×1 pixels, a side has at most 1,000,000"
    ) as caught:
        READER.decode(made.png(2_000_000, 1))
    assert caught.value.reason == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("trailing", [b"\0", b"\xff\xd8\xff", bytes(99_999)], ids=len)
def test_trailing_bytes(name: str, trailing: bytes) -> None:
    """What stands behind a whole image, as phones write it, changes nothing."""
    expected = READER.decode(GOOD[name])
    np.testing.assert_array_equal(READER.decode(GOOD[name] + trailing), expected)


@pytest.mark.parametrize("name", GOOD)
def test_only_pixels_are_passed_on(name: str) -> None:
    """A decoder gets no EXIF, profile or text, and the same pixels as with them."""
    file = headers.inspect(GOOD[name])
    for part in (b"Exif", b"EXIF", b"eXIf", b"ICC", b"iCCP", b"XMP", b"pHYs", b"MPF", b"a descr"):
        assert part not in file.data
    stored = Pillow.open(io.BytesIO(GOOD[name])).convert("RGB")
    passed = Pillow.open(io.BytesIO(file.data)).convert("RGB")
    np.testing.assert_array_equal(np.array(stored), np.array(passed))


def test_smallest_webp() -> None:
    """A WebP that is small without its EXIF can be decoded."""
    black = Pillow.new("RGB", (112, 112))
    data = made.encoded(black, "WEBP", lossless=True, exif=EXIF)
    assert not READER.decode(data).any()


def test_small_files_take_little() -> None:
    """Neither what a part announces nor what a text or EXIF unfolds to is ever filled."""
    entry = struct.pack("<HHII", 0x010E, 2, 900_000, 8)
    description = b"II*\0" + struct.pack("<IH", 8, 60_000) + entry * 60_000 + bytes(999_999)
    files = [
        made.png_header(112, 112) + made.chunk(b"gAMA", b"", 0xFFFFFFF0),
        made.png_header(112, 112) + made.chunk(b"IDAT", b"x", 0x7FFFFFFF),
        made.png(112, 112, made.chunk(b"zTXt", TEXT) * 60),
        made.png(112, 112, made.chunk(b"tEXt", LINES)),
        made.png(112, 112, made.chunk(b"eXIf", description)),
        made.webp(CANVAS, WEBP[12:], made.webp_chunk(b"EXIF", description)),
    ]
    for file, measured in zip(files, decode_measured(files), strict=True):
        assert within_bounds(measured, file), measured


@pytest.mark.parametrize(
    "number", [200, pytest.param(8000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_damaged_files(number: int) -> None:
    """A file damaged anywhere is decoded or refused, within the memory and time of its pixels."""
    chance = random.Random(number)
    good = list(GOOD.values())
    files = [made.damaged(chance.choice(good), chance) for _ in range(number)]
    decoded = decode_measured(files)
    over = [
        each for file, each in zip(files, decoded, strict=True) if not within_bounds(each, file)
    ]
    assert not over
    # The damage is of a kind that lets some through, and not all.
    assert 0.05 < sum(not each.refusal for each in decoded) / number < 0.9


@pytest.mark.slow
def test_most_that_an_image_takes() -> None:
    """The largest progressive JPEG, of four inks and the most scans, stays within the bounds."""
    file = made.progressive_jpeg(7071, 7071, 64, components=4)
    (measured,) = decode_measured([file])
    assert not measured.refusal
    assert measured.peak_bytes < PEAK_BYTES_PER_PIXEL * measured.announced_pixels
    # Measured: 1.7 s.
    assert measured.processor_s < 6


def test_most_tables() -> None:
    """A lossless WebP with as many tables as are taken needs what is stated for each."""
    file = made.lossless_webp(256, 256, vp8l.MAX_BLOCKS)
    (measured,) = decode_measured([file])
    assert not measured.refusal
    assert measured.peak_bytes < PEAK_BYTES_PER_TABLE * vp8l.MAX_BLOCKS
    assert measured.processor_s < PROCESSOR_S


@pytest.mark.parametrize("method", [0, 3, 6])
@pytest.mark.parametrize("colours", [2, 200, None])
def test_lossless_webp(method: int, colours: int | None) -> None:
    """What libwebp writes without loss is taken, with any transforms."""
    image = PICTURE.resize((640, 288))
    if colours:
        image = image.quantize(colours).convert("RGB")
    found = READER.decode(made.encoded(image, "WEBP", lossless=True, method=method, quality=100))
    np.testing.assert_array_equal(found, np.array(image)[..., ::-1])


def test_tables_of_a_small_image() -> None:
    """An image of the size of a face has too few pixels for many tables."""
    file = made.lossless_webp(112, 112, 28 * 28)
    (measured,) = decode_measured([file])
    assert not measured.refusal
    assert within_bounds(measured, file)
