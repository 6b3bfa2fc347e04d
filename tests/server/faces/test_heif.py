"""HEIC and AVIF: taken as viewers show them, within what their headers announce."""

import io
import random
import struct
import subprocess
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces import headers
from face_embedding_server.faces.images import Image, ImageReader
from face_embedding_server.limits import DEFAULT_MAX_IMAGE_PIXELS
from support import hostile_images as made
from support.measured_decoding import decode_measured
from support.processes import child_environment

READER = ImageReader()
NOISE = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
PICTURE = NOISE.resize((240, 160), Pillow.Resampling.BICUBIC)
SECTOR = 512
# What docs/security.md states.
AVIF_BYTES_PER_PIXEL = 30


def heic(picture: Pillow.Image = PICTURE, orientation: int = 1) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, quality=95, exif=exif.tobytes())
    return file.getvalue()


def avif(picture: Pillow.Image = PICTURE, orientation: int = 1) -> bytes:
    return made.encoded(picture, "AVIF", quality=95, exif=made.exif(orientation))


HEIC, AVIF = heic(), avif()
FILES = {"HEIC": HEIC, "AVIF": AVIF}


def difference(pixels: Image, picture: Pillow.Image) -> float:
    assert pixels.shape[:2] == (picture.height, picture.width)
    return float(np.abs(pixels[..., ::-1].astype(int) - np.asarray(picture.convert("RGB"))).mean())


@pytest.mark.parametrize("name", FILES)
def test_pixels(name: str) -> None:
    """A picture comes out closely, in BGR."""
    assert difference(READER.decode(FILES[name]), PICTURE) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_avif(orientation: int) -> None:
    """An AVIF is turned as Pillow turns it."""
    data = avif(orientation=orientation)
    shown = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data)))
    assert difference(READER.decode(data), shown) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_heic(orientation: int) -> None:
    """A HEIC is turned as its boxes say, once."""
    data = heic(orientation=orientation)
    shown = pillow_heif.open_heif(data).to_pillow()
    assert difference(READER.decode(data), shown) < 2


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_modes(mode: str) -> None:
    """Grey becomes colour, and transparency is dropped."""
    for data in (heic(PICTURE.convert(mode)), avif(PICTURE.convert(mode))):
        assert difference(READER.decode(data), PICTURE.convert(mode).convert("RGB")) < 5


@pytest.mark.parametrize("mode", ["I;16", "RGB;16"])
def test_deep(mode: str) -> None:
    """More than 8 bits become 8, of grey too."""
    shown = PICTURE.convert("L" if mode == "I;16" else "RGB")
    deep = np.asarray(shown).astype(np.uint16) * 257
    file = io.BytesIO()
    pillow_heif.from_bytes(mode, PICTURE.size, deep.tobytes()).save(file, quality=95)
    assert difference(READER.decode(file.getvalue()), shown) < 4


@pytest.mark.parametrize("name", FILES)
def test_size(name: str) -> None:
    """The size is known before anything is decoded, and held against the limit."""
    assert headers.read_size(FILES[name]) == PICTURE.size
    with pytest.raises(Refusal, match="240×160 pixels, at most 9,999 are") as caught:
        ImageReader(max_pixels=9_999).decode(FILES[name])
    assert caught.value.reason == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("name", FILES)
def test_small_announcement(name: str) -> None:
    """A coded picture that is larger than the file announces is refused."""
    at = FILES[name].index(b"ispe") + 8
    small = FILES[name][:at] + bytes((0, 0, 0, 64, 0, 0, 0, 64)) + FILES[name][at + 8 :]
    with pytest.raises(Refusal, match="announces a picture of 64×64 pixels, and has one of"):
        READER.decode(small)


def test_lost_sector() -> None:
    """A HEIC that lost a sector of its pixels is refused."""
    start = len(HEIC) - len(HEIC) // 2
    for at in range(start, len(HEIC) - SECTOR, 499):
        with pytest.raises(Refusal, match="zeros that mean nothing"):
            READER.decode(HEIC[:at] + bytes(SECTOR) + HEIC[at + SECTOR :])


@pytest.mark.parametrize("name", FILES)
def test_cut(name: str) -> None:
    """A file that is cut anywhere is refused."""
    for length in range(30, len(FILES[name]) - 1, 397):
        with pytest.raises(Refusal) as caught:
            READER.decode(FILES[name][:length])
        assert caught.value.reason == Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize(
    "behind", [b"\0", b"\n", b"a text of some program", bytes(99), b"\xff" * 9]
)
@pytest.mark.parametrize("name", FILES)
def test_behind_the_end(name: str, behind: bytes) -> None:
    """Bytes behind the end of a file do no harm."""
    whole = READER.decode(FILES[name])
    np.testing.assert_array_equal(READER.decode(FILES[name] + behind), whole)


def test_damaged_files() -> None:
    """A file damaged anywhere is decoded or refused, within the memory of its pixels."""
    chance = random.Random(0)
    files = [made.damaged(chance.choice((HEIC, AVIF)), chance) for _ in range(120)]
    for file, measured in zip(files, decode_measured(files), strict=True):
        pixels = min(measured.announced_pixels, DEFAULT_MAX_IMAGE_PIXELS)
        assert measured.peak_bytes < 12 * pixels + 4 * len(file) + (16 << 20), measured


def test_memory_of_avif() -> None:
    """An AVIF of the costliest kind that the tests can write takes what is stated."""
    picture = PICTURE.resize((2000, 1500))
    grainy = made.encoded(
        picture, "AVIF", subsampling="4:4:4", codec="aom", advanced={"film-grain-test": "1"}
    )
    measured = decode_measured([AVIF, grainy])[1]
    assert not measured.refusal
    # Measured: 22.
    assert measured.peak_bytes < AVIF_BYTES_PER_PIXEL * measured.announced_pixels


def test_without_the_extra() -> None:
    """Where the decoder is not installed, the refusal says what the file is and what to install."""
    program = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from face_embedding_server.faces.images import ImageReader\n"
        "from face_embedding_server.errors import Refusal\n"
        "try: ImageReader().decode(sys.stdin.buffer.read())\n"
        "except Refusal as refusal: print(refusal.message)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        input=HEIC, capture_output=True, env=child_environment(), check=True, timeout=60,
    ).stdout.decode()  # fmt: skip
    assert "is a HEIC file" in said
    assert "pip install 'face-embedding[heif]'" in said


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def grid(tile: bytes, columns: int, width: int, height: int, distinct: int = 99) -> bytes:
    """Return a HEIC of one row of tiles as telephones write it, each the picture of a HEIC.

    There are at most as many different ones as is said.
    """
    parts = min(columns, distinct)
    start = tile.index(b"hvcC") - 4
    configuration = tile[start : start + struct.unpack_from(">I", tile, start)[0]]
    at = tile.index(b"ispe") - 4
    size = tile[at : at + struct.unpack_from(">I", tile, at)[0]]
    data = tile[tile.index(b"mdat") + 4 :]
    # Its one part after its length; EXIF follows.
    coded = data[: 4 + struct.unpack_from(">I", data)[0]]
    numbers = range(2, 2 + columns)
    whole = struct.pack(">4sIII", b"ispe", 0, width, height)
    items = [(1, b"grid"), *((number, b"hvc1") for number in numbers)]
    laid = struct.pack(">BBBBHH", 0, 0, 0, columns - 1, width, height)

    def meta(place: int) -> bytes:
        return box(
            b"meta", bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iinf", struct.pack(">IH", 0, len(items)), *(
                box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, kind, 0))
                for number, kind in items
            )),
            box(b"iref", bytes(4), box(
                b"dimg", struct.pack(f">HH{columns}H", 1, columns, *numbers)
            )),
            box(b"iprp",
                box(b"ipco", struct.pack(">I", 4 + len(whole)), whole, size, configuration),
                box(b"ipma", struct.pack(">IIHBB", 0, len(items), 1, 1, 1), *(
                    struct.pack(">HBBB", number, 2, 2, 0x83) for number in numbers
                ))),
            box(b"idat", laid),
            box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, len(items)),
                struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(laid)), *(
                    struct.pack(">HHHHII", number, 0, 0, 1, place + number % parts * len(coded),
                                len(coded))
                    for number in numbers
                )),
        )  # fmt: skip

    brand = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    place = len(brand) + len(meta(0)) + 8
    return brand + meta(place) + box(b"mdat", coded * parts)


TILE = heic(PICTURE.resize((64, 64)))


def parts_of(picture: bytes) -> tuple[bytes, bytes, bytes]:
    """Return size, configuration and coded picture of a HEIC."""
    boxes = []
    for kind in (b"ispe", b"hvcC"):
        start = picture.index(kind) - 4
        boxes.append(picture[start : start + struct.unpack_from(">I", picture, start)[0]])
    coded = picture[picture.index(b"mdat") + 4 :]
    return boxes[0], boxes[1], coded[: 4 + struct.unpack_from(">I", coded)[0]]


def with_descriptions(number: int, references: int) -> bytes:
    """Return a HEIC with descriptions that are all the same 4 MB, each for its picture so often."""
    size, configuration, coded = parts_of(TILE)
    described = bytes(4 << 20)
    numbers = range(2, 2 + number)
    pointed = struct.pack(f">H{references}H", references, *[1] * references)

    def meta(place: int) -> bytes:
        return box(
            b"meta", bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iinf", struct.pack(">IH", 0, 1 + number), *(
                box(b"infe", struct.pack(">IHH4sB", 2 << 24, each, 0, kind, 0))
                for each, kind in ((1, b"hvc1"), *((each, b"Exif") for each in numbers))
            )),
            box(b"iref", bytes(4), *(
                box(b"cdsc", struct.pack(">H", each), pointed) for each in numbers
            )),
            box(b"iprp",
                box(b"ipco", size, configuration),
                box(b"ipma", struct.pack(">IIHBBB", 0, 1, 1, 2, 1, 0x82))),
            box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, 1 + number),
                struct.pack(">HHHHII", 1, 0, 0, 1, place, len(coded)), *(
                    struct.pack(">HHHHII", each, 0, 0, 1, place + len(coded), len(described))
                    for each in numbers
                )),
        )  # fmt: skip

    brand = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return brand + meta(len(brand) + len(meta(0)) + 8) + box(b"mdat", coded, described)


def test_descriptions() -> None:
    """Descriptions that share their bytes, or of which a picture has one often, take no memory."""
    files = [TILE, with_descriptions(60, 1), with_descriptions(1, 60)]
    _, shared, repeated = decode_measured(files)
    assert "used again and again" in shared.refusal
    assert not repeated.refusal
    for file, measured in zip(files[1:], (shared, repeated), strict=True):
        # Measured: 12 MB, and 250 MB if all are copied.
        assert measured.peak_bytes < 4 * len(file), measured


def test_frames() -> None:
    """An AVIF of many frames is refused: decoders decode all of them for one picture."""
    # A temporal delimiter, the sequence header, and the frame up to the end of the file.
    start = AVIF.index(b"\x12\0\x0a")
    frame = start + 4 + AVIF[start + 3]
    place = AVIF.index(struct.pack(">II", start, len(AVIF) - start))
    more = AVIF + AVIF[frame:] * 9
    file = more[:place] + struct.pack(">II", start, len(more) - start) + more[place + 8 :]
    at = file.index(b"mdat") - 4
    file = file[:at] + struct.pack(">I", len(file) - at) + file[at + 4 :]
    with pytest.raises(Refusal, match="too many frames"):
        READER.decode(file)


def with_transparency(picture: bytes, transparency: bytes) -> bytes:
    """Return a HEIC whose transparency is the picture of another one."""
    (size, configuration, coded), others = parts_of(picture), parts_of(transparency)
    kind = box(b"auxC", bytes(4), b"urn:mpeg:hevc:2015:auxid:1\0")

    def meta(place: int) -> bytes:
        return box(
            b"meta", bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iinf", struct.pack(">IH", 0, 2), *(
                box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, b"hvc1", 0))
                for number in (1, 2)
            )),
            box(b"iref", bytes(4), box(b"auxl", struct.pack(">HHH", 2, 1, 1))),
            box(b"iprp",
                box(b"ipco", size, configuration, *others[:2], kind),
                box(b"ipma", struct.pack(
                    ">IIHBBBHBBBB", 0, 2, 1, 2, 1, 0x82, 2, 3, 3, 0x84, 0x85
                ))),
            box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, 2),
                struct.pack(">HHHHII", 1, 0, 0, 1, place, len(coded)),
                struct.pack(">HHHHII", 2, 0, 0, 1, place + len(coded), len(others[2]))),
        )  # fmt: skip

    brand = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return brand + meta(len(brand) + len(meta(0)) + 8) + box(b"mdat", coded, others[2])


@pytest.mark.slow
def test_large_transparency() -> None:
    """Transparency of any size takes no memory: it is not decoded."""
    small, large = (heic(Pillow.new("L", (side, side), 200)) for side in (64, 4096))
    files = [with_transparency(TILE, each) for each in (small, large)]
    assert pillow_heif.open_heif(files[0]).mode == "RGBA"
    np.testing.assert_array_equal(READER.decode(files[1]), READER.decode(TILE))
    # The first one also has the decoder loaded.
    assert decode_measured(files)[1].peak_bytes < 8 << 20  # Measured: 0, and 42 MB if it is.


def test_grid() -> None:
    """A picture of tiles, as telephones write it, is put together."""
    pixels = READER.decode(grid(TILE, 3, 150, 60))
    assert pixels.shape == (60, 150, 3)
    single = READER.decode(TILE)
    np.testing.assert_array_equal(pixels[:, 64:128], single[:60])


def test_too_many_tiles() -> None:
    """A picture of more tiles than it has room for is refused."""
    with pytest.raises(Refusal, match="has tiles of"):
        READER.decode(grid(TILE, 40, 64, 64))


@pytest.mark.parametrize("name", FILES)
def test_two_sizes(name: str) -> None:
    """A file of which two readers could see two sizes is refused."""
    with pytest.raises(Refusal, match="two boxes meta in one place"):
        READER.decode(FILES[name] + FILES[name])


def test_shared_tiles() -> None:
    """Tiles that all are the same part of the file are refused: each would be decoded anew."""
    with pytest.raises(Refusal, match="used again and again"):
        READER.decode(grid(TILE, 8, 500, 60, distinct=1))


def of_one_tile(count: int, associated: int, extents: int, sets: int, items: int) -> bytes:
    """Return a HEIC whose picture is one tile without data again and again.

    Args:
        count: of tiles.
        associated: how many lists of 255 properties, of which none is one, the tile has.
        extents: of its data.
        sets: of the tile's configuration that have no meaning.
        items: how many others the file has a place for.
    """
    _, configuration, _ = parts_of(TILE)
    configuration = configuration[8:30] + bytes((configuration[30] + 1,)) + configuration[31:]
    nothing = struct.pack(">BH", 0, sets) + b"\0\1\0" * sets
    places = b"".join(struct.pack(">IHHH", number, 0, 0, 0) for number in range(3, 3 + items))
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(
        b"meta", bytes(4),
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iinf", struct.pack(">IH", 0, 2), *(
            box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, kind, 0))
            for number, kind in ((1, b"grid"), (2, b"hvc1"))
        )),
        box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{count}H", 1, count, *[2] * count))),
        box(b"iprp",
            box(b"ipco",
                box(b"ispe", struct.pack(">III", 0, 7000, 7000)),
                box(b"ispe", struct.pack(">III", 0, 64, 64)),
                box(b"hvcC", configuration, nothing)),
            box(b"ipma", struct.pack(">II", 0, 2 + associated),
                b"\0\1\1\1", b"\0\2\2\2\3", (b"\0\2\xff" + bytes(255)) * associated)),
        box(b"iloc", struct.pack(">IBBI", 2 << 24, 0, 0, 1 + items),
            struct.pack(">IHHH", 2, 0, 0, extents), places),
    )  # fmt: skip


def test_small_files_take_little() -> None:
    """What is named again and again, or means nothing, takes no time and no memory."""
    files = [
        TILE,  # The first one also has the decoder loaded.
        of_one_tile(1000, 400, 0, 0, 0),
        of_one_tile(1000, 0, 4000, 0, 0),
        of_one_tile(20_000, 0, 0, 0, 0),
        of_one_tile(1000, 0, 0, 1200, 0),
        of_one_tile(1, 0, 0, 0, 1_000_000),
    ]
    for file, measured in zip(files[1:], decode_measured(files)[1:], strict=True):
        assert measured.refusal
        assert measured.processor_s < 0.1, measured  # Measured: 0.006 s.
        assert measured.peak_bytes < 4 * len(file) + (16 << 20), measured
