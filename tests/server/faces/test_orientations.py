"""The orientation of image files, against what Pillow shows of them."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from face_embedding_server.faces import headers
from face_embedding_server.faces.images import ImageReader
from support import hostile_images as made

PICTURE = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)).resize(
    (48, 32), Pillow.Resampling.BICUBIC
)
JPEG = made.encoded(PICTURE, "JPEG", quality=95)
PNG = made.encoded(PICTURE, "PNG")
WEBP = made.encoded(PICTURE, "WEBP", lossless=True)
APP1 = 0xE1
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
ORIENTATION = 0x0112
BYTE, SHORT, LONG, SIGNED_BYTE, SIGNED_SHORT, SIGNED_LONG = 1, 3, 4, 6, 8, 9
BYTES = {SHORT: "H", LONG: "I", SIGNED_BYTE: "b", SIGNED_SHORT: "h", SIGNED_LONG: "i"}
ORDERS = {"<": b"II*\0", ">": b"MM\0*"}


def tiff(order: str, *entries: tuple[int, int, int], thumbnail: int | None = None) -> bytes:
    """Return EXIF of entries (tag, type, value), and of a thumbnail with its own orientation."""
    body = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + struct.pack(order + {**BYTES, BYTE: "B"}[kind], value).ljust(4, b"\0")
        for tag, kind, value in entries
    )
    second = 8 + 2 + len(body) + 4 if thumbnail else 0
    first = struct.pack(f"{order}H", len(entries)) + body + struct.pack(f"{order}I", second)
    small = (
        struct.pack(f"{order}HHHIHHI", 1, ORIENTATION, SHORT, 1, thumbnail, 0, 0)
        if thumbnail
        else b""
    )
    return ORDERS[order] + struct.pack(f"{order}I", 8) + first + small


def turned(order: str = "<", kind: int = SHORT, orientation: int = 6) -> bytes:
    return tiff(order, (ORIENTATION, kind, orientation))


def jpeg(*bodies: bytes, of: bytes = JPEG) -> bytes:
    """Return a JPEG with segments APP1 behind that of JFIF."""
    end = 4 + struct.unpack_from(">H", of, 4)[0]
    return of[:end] + b"".join(made.segment(APP1, body) for body in bodies) + of[end:]


def exif(data: bytes) -> bytes:
    return b"Exif\0\0" + data


def elsewhere(position: int, tag: int = ORIENTATION) -> bytes:
    """Return EXIF whose entries are at that position; of another tag those below it are meant."""
    entry = struct.pack("<HHHIHHI", 1, ORIENTATION, SHORT, 1, 6, 0, 0)
    if tag != ORIENTATION:
        below = struct.pack("<HHHIII", 1, tag, LONG, 1, position + 18, 0)
        entry = below + entry
    return ORDERS["<"] + struct.pack("<I", position).ljust(position - 4, b"\0") + entry


def behind_frame(body: bytes) -> bytes:
    at = JPEG.index(b"\xff\xc4")
    return JPEG[:at] + made.segment(APP1, body) + JPEG[at:]


def png(data: bytes, *, behind: bool = False) -> bytes:
    at = -12 if behind else 33
    return PNG[:at] + made.chunk(b"eXIf", data) + PNG[at:]


def text_png(data: bytes, kind: bytes = b"zTXt", name: bytes = b"exif") -> bytes:
    """Return a PNG with EXIF as ImageMagick wrote it."""
    letters = data.hex().encode()
    lines = [letters[at : at + 72] for at in range(0, len(letters), 72)]
    text = b"\n".join([b"", name, b"%8d" % len(data), *lines, b""])
    packed = b"\0" + zlib.compress(text) if kind == b"zTXt" else text
    body = b"Raw profile type " + name + b"\0" + packed
    return PNG[:33] + made.chunk(kind, body) + PNG[33:]


def webp(*chunks: bytes, flags: int = 8) -> bytes:
    width, height = PICTURE.size
    canvas = bytes((flags, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0))
    return made.webp(made.webp_chunk(b"VP8X", canvas), WEBP[12:], *chunks)


def webp_exif(data: bytes) -> bytes:
    return made.webp_chunk(b"EXIF", data)


TWO_PICTURES = made.encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE])
FILES = {
    **{
        f"JPEG, {order}, type {kind}": jpeg(exif(turned(order, kind)))
        for order, kind in itertools.product(ORDERS, BYTES)
    },
    "JPEG, EXIF before JFIF": JPEG[:2] + made.segment(APP1, exif(turned())) + JPEG[2:],
    "JPEG, behind XMP": jpeg(XMP, exif(turned())),
    "JPEG, before XMP": jpeg(exif(turned()), XMP),
    "JPEG, between XMP": jpeg(XMP, XMP, exif(turned(">", LONG)), XMP),
    "JPEG, two blocks": jpeg(exif(turned(orientation=8)), exif(turned(orientation=3))),
    "JPEG, second block": jpeg(exif(tiff("<", (0x0100, LONG, 9))), exif(turned())),
    "JPEG, block in two": jpeg(exif(turned()[:9]), exif(turned()[9:])),
    "JPEG, damaged block": jpeg(exif(b"II+\0 "), exif(turned())),
    "JPEG, prefix twice": jpeg(exif(exif(turned()))),
    "JPEG, thumbnail": jpeg(exif(tiff(">", (ORIENTATION, SHORT, 6), thumbnail=3))),
    "JPEG, only a thumbnail": jpeg(exif(tiff(">", (0x0100, LONG, 9), thumbnail=3))),
    "JPEG, last of many": jpeg(
        exif(tiff(">", *((tag, LONG, 6) for tag in range(0x0100, 0x0112)), (ORIENTATION, LONG, 7)))
    ),
    "JPEG, orientation 0": jpeg(exif(turned(orientation=0))),
    "JPEG, orientation 9": jpeg(exif(turned(orientation=9))),
    "JPEG, large LONG": jpeg(exif(turned(kind=LONG, orientation=0x60006))),
    "JPEG, padded": jpeg(exif(turned() + bytes(40_000))),
    "JPEG, entries far": jpeg(exif(elsewhere(1000))),
    "JPEG, entries at an odd place": jpeg(exif(elsewhere(9))),
    "JPEG, entries out of order": jpeg(
        exif(tiff(">", (0x0131, LONG, 9), (ORIENTATION, SHORT, 6), (0x0100, LONG, 9)))
    ),
    "JPEG, of entries below": jpeg(exif(elsewhere(8, 0x8769))),
    "JPEG, behind the frame": behind_frame(exif(turned())),
    "JPEG, behind the end": JPEG + made.segment(APP1, exif(turned())),
    "JPEG, filled": jpeg(exif(turned())).replace(b"\xff\xe1", b"\xff\xff\xff\xe1", 1),
    "JPEG, in APP3": jpeg(exif(turned())).replace(b"\xff\xe1", b"\xff\xe3", 1),
    "JPEG, small prefix": jpeg(b"exif\0\0" + turned()),
    "MPO": jpeg(exif(turned()), of=TWO_PICTURES),
    "PNG": png(turned(">", LONG)),
    "PNG, behind the pixels": png(turned(), behind=True),
    "PNG, prefix": png(exif(turned())),
    "PNG, compressed text": text_png(exif(turned())),
    "PNG, text": text_png(exif(turned()), b"tEXt"),
    "PNG, text and its own": png(turned(orientation=8)).replace(
        PNG[33:], text_png(exif(turned()))[33:]
    ),
    "WebP": webp(webp_exif(turned(">", LONG))),
    "WebP, prefix": webp(webp_exif(exif(turned()))),
    "WebP, behind XMP": webp(made.webp_chunk(b"XMP ", b"<x/>"), webp_exif(turned()), flags=12),
    "WebP, two": webp(webp_exif(turned()), webp_exif(turned(orientation=3))),
    "WebP, not announced": webp(webp_exif(turned()), flags=0),
}  # fmt: skip


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_as_pillow(data: bytes) -> None:
    """A file is turned as Pillow turns it."""
    shown = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))).convert("RGB")
    found = ImageReader().decode(data)
    assert found.shape[:2] == (shown.height, shown.width)
    assert np.abs(found[..., ::-1].astype(int) - np.asarray(shown)).mean() < 1


# What libexif 0.6.24 says, by `exif --tag Orientation --ifd 0`: it is in no package to test with.
# It reads neither a block that goes on in another segment nor a second prefix, and of a number that
# is too large the lower half.
NOT_OF_LIBEXIF = {"JPEG, block in two", "JPEG, prefix twice", "JPEG, large LONG"}
OF_LIBEXIF = {
    "JPEG, two blocks": 8,
    "JPEG, last of many": 7,
    **dict.fromkeys(
        (
            "JPEG, second block", "JPEG, damaged block", "JPEG, only a thumbnail",
            "JPEG, orientation 0", "JPEG, orientation 9", "JPEG, of entries below",
            "JPEG, behind the end", "JPEG, in APP3", "JPEG, small prefix",
        ),
        1,
    ),
}  # fmt: skip


def test_as_libexif() -> None:
    """A JPEG is turned as libexif says: by 6, the orientation of most, or as the table has it."""
    found = {
        name: headers.inspect(data).orientation
        for name, data in FILES.items()
        if name.startswith(("JPEG", "MPO")) and name not in NOT_OF_LIBEXIF
    }
    assert found == dict.fromkeys(found, 6) | OF_LIBEXIF


def test_byte() -> None:
    """A byte is taken for an orientation, as by libexif; Pillow does not take it."""
    data = jpeg(exif(tiff("<", (ORIENTATION, BYTE, 6))))
    assert headers.inspect(data).orientation == 6


def test_twice() -> None:
    """Of two orientations in one block the first counts, as in Pillow since 13."""
    data = jpeg(exif(tiff("<", (ORIENTATION, SHORT, 6), (ORIENTATION, SHORT, 3))))
    assert ImageReader().decode(data).shape[0] == 48


def test_table() -> None:
    """Of the files above most are turned, and some are not."""
    turned_files = [ImageReader().decode(data).shape[0] == 48 for data in FILES.values()]
    assert 5 < turned_files.count(False) < turned_files.count(True)


def test_cut_exif() -> None:
    """What EXIF says before it ends is taken, wherever it ends."""
    whole = tiff(">", (ORIENTATION, SHORT, 6), (0x0100, LONG, 9))
    for length in range(len(whole)):
        found = ImageReader().decode(png(whole[:length])).shape[0]
        assert found == (48 if length >= 20 else 32), length


@pytest.mark.parametrize("change", [b"zz", b"\xff"])
def test_damaged_text(change: bytes) -> None:
    """A text that is damaged says nothing."""
    right = exif(turned()).hex().encode()
    data = text_png(exif(turned()), b"tEXt").replace(right[:2], change[:1] * 2, 1)
    assert headers.inspect(data).orientation == 1
