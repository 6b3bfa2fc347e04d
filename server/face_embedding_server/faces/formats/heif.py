"""The structure of HEIC and AVIF files, of which a picture is one item or a grid of them.

Sources: ISO/IEC 23008-12 (HEIF), sections 6.5, 6.6 and 9; ISO/IEC 14496-12, sections 4.2 and 8.11;
AV1 Image File Format 1.1.
"""

import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from face_embedding_server.faces.formats import coded_size, exif
from face_embedding_server.faces.formats.file import (
    Decoder,
    ImageFile,
    ImageSize,
    UnreadableImageError,
    cut_short,
    damaged,
    printable,
)

START = re.compile(rb"\0\0..ftyp(?:avi[fs]|he[iv][cxms]|mi[af]1|msf1)", re.DOTALL)

_Content = TypeVar("_Content", bytes, tuple[int, int])
_BOX = struct.Struct(">I4s")
_BOX64 = struct.Struct(">Q")
_VERSION_BYTES = 4
_SEQUENCES = {b"avis", b"msf1", b"hevc", b"hevx"}
# Telephones write some fifty tiles, and three items beside each picture.
_MAX_BOXES = 4096
# An item has some five, and 50 million pixels are 800 tiles of 256×256. All are looked at for each
# tile, and one tile may be named again and again.
_MAX_PROPERTIES = 64
_MAX_TILES = 1024
# The tiles of a grid reach beyond the picture by less than one on each side.
_MOST_TILES = 4
_MOST_COPIES = 2
# Of two of these, decoders may take either.
_SINGLE = {
    b"meta", b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"idat",
    b"ispe", b"hvcC", b"av1C", b"irot", b"imir",
}  # fmt: skip
# By angle and mirror axis of the boxes irot and imir, the orientation of EXIF.
_TURNS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip
_HEVC, _AV1, _GRID = b"hvc1", b"av01", b"grid"
_OTHERS, _NOTHING = {b"auxl", b"cdsc"}, b"free"


class _Item(NamedTuple):
    kind: bytes
    properties: dict[bytes, bytes]
    data: bytes


def inspect(data: bytes) -> ImageFile:
    """Return what a HEIC or AVIF file says of itself.

    Raises:
        UnreadableImageError: if it is damaged, a sequence, or its coded pictures are larger than
            it announces.
    """
    if data[8:12] in _SEQUENCES:
        raise UnreadableImageError("is an animation")
    data = data[: _end(data)]
    boxes = _by_kind(_boxes(data, 0, len(data)))
    if b"meta" not in boxes:
        raise damaged("it has no picture")
    start, end = boxes[b"meta"]
    meta = _by_kind(_boxes(data, start + _VERSION_BYTES, end))
    missing = {b"pitm", b"iinf", b"iprp", b"iloc"} - meta.keys()
    if missing:
        raise damaged("it does not say where its picture is")
    parts = {kind: data[first:last] for kind, (first, last) in meta.items()}
    (primary,) = struct.unpack_from(">I" if parts[b"pitm"][0] else ">H", parts[b"pitm"], 4)
    items = _Items(data, parts)
    picture = items.item(primary)
    size = _size(picture)
    tiles = [picture] if picture.kind != _GRID else [items.item(each) for each in items.of(primary)]
    kinds = {tile.kind for tile in tiles}
    if len(kinds) != 1 or not kinds <= {_HEVC, _AV1}:
        names = ", ".join(sorted(printable(kind) for kind in kinds)) or "nothing"
        raise UnreadableImageError(f"is of a kind of HEIF that is not supported: {names}")
    _check_tiles(tiles, size)
    turn = picture.properties.get(b"irot", b"\0")[0] & 3
    mirror = picture.properties[b"imir"][0] & 1 if b"imir" in picture.properties else None
    is_hevc = kinds == {_HEVC}
    return ImageFile(
        size,
        # Its decoder turns a HEIC by itself.
        exif.UPRIGHT if is_hevc else _TURNS[turn, mirror],
        size.width * size.height,
        _without_others(data, *boxes[b"meta"]),
        decoder=Decoder.HEIC if is_hevc else Decoder.AVIF,
    )


def _without_others(data: bytes, start: int, end: int) -> bytes:
    """Return a file in which nothing is a picture's transparency, nor describes it.

    Decoders decode the one and copy the other, again and again where it is referred to so often,
    and neither means anything here. Their references get a kind that nobody reads.
    """
    kept = bytearray()
    done = 0
    for kind, place in _boxes(data, start + _VERSION_BYTES, end):
        if kind == b"iref":
            for reference, (body, _) in _boxes(data, place[0] + _VERSION_BYTES, place[1]):
                if reference in _OTHERS:
                    # Before its body there is its length, or its kind and a longer one.
                    at = data.rindex(reference, done, body)
                    kept += data[done:at] + _NOTHING
                    done = at + len(_NOTHING)
    return bytes(kept + data[done:]) if kept else data


def _check_tiles(tiles: list[_Item], size: ImageSize) -> None:
    """Refuse coded pictures that a decoder needs more memory for than is announced."""
    pixels = 0
    for tile in tiles:
        announced = _size(tile)
        coded_size.check(
            tile.kind == _HEVC, tile.properties.get(b"hvcC", b""), tile.data, announced
        )
        pixels += announced.width * announced.height
    if len(tiles) > 1 and pixels > _MOST_TILES * size.width * size.height:
        raise damaged(f"it announces {size}, and has tiles of {pixels:,} pixels")


def _size(item: _Item) -> ImageSize:
    if len(item.properties.get(b"ispe", b"")) < 12:
        raise damaged("its picture has no size")
    width, height = struct.unpack_from(">II", item.properties[b"ispe"], _VERSION_BYTES)
    if not width * height:
        raise damaged("its picture has no pixels")
    return ImageSize(width, height)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield kind, start and end of the content of each box."""
    for _ in range(_MAX_BOXES):
        if start == end:
            return
        length, kind = _BOX.unpack_from(data, start)
        body = start + _BOX.size
        if length == 1:
            (length,) = _BOX64.unpack_from(data, body)
            body += _BOX64.size
        stop = start + length if length else end
        if stop < body or stop > end:
            raise cut_short(f"the box {printable(kind)}", start, length, end - start)
        yield kind, (body, stop)
        start = stop
    raise _too_many()


def _end(data: bytes) -> int:
    """Return where a file ends: with the last of its boxes, as bytes behind them are none of it.

    Where a box is cut short instead, the picture that is in it will be missing.
    """
    end = 0
    has_picture = False
    try:
        for kind, (_, stop) in _boxes(data, 0, len(data)):
            has_picture = has_picture or kind == b"meta"
            end = stop
    except (UnreadableImageError, struct.error):
        if not has_picture:
            raise
    return end


def _by_kind(boxes: Iterable[tuple[bytes, _Content]]) -> dict[bytes, _Content]:
    found: dict[bytes, _Content] = {}
    for kind, content in boxes:
        if kind in found and kind in _SINGLE:
            raise damaged(f"it has two boxes {printable(kind)} in one place")
        found[kind] = content
    return found


class _Items:
    """The items of a file, by their numbers."""

    def __init__(self, data: bytes, parts: dict[bytes, bytes]) -> None:
        self._data = data
        self._kinds = dict(_kinds(parts[b"iinf"]))
        self._places = {}
        self._taken = 0
        for number, place in _places(parts[b"iloc"]):
            self._places[number] = place
            # Decoders copy also what is no part of the picture.
            self._take(sum(length for _, length in place[1]))
        self._taken = 0
        self._idat = parts.get(b"idat", b"")
        properties = parts[b"iprp"]
        lists = list(_boxes(properties, 0, len(properties)))
        containers = [place for kind, place in lists if kind == b"ipco"]
        self._properties = [
            (kind, properties[first:last])
            for place in containers[:1]
            for kind, (first, last) in _boxes(properties, *place)
        ]
        self._of: dict[int, list[int]] = {}
        associations = itertools.chain.from_iterable(
            _associations(properties[first:last])
            for kind, (first, last) in lists
            if kind == b"ipma"
        )
        for count, (number, indices) in enumerate(associations):
            has = self._of.setdefault(number, [])
            has += indices
            if count == _MAX_BOXES or len(has) > _MAX_PROPERTIES:
                raise _too_many()
        self._references = parts.get(b"iref", b"")

    def item(self, number: int) -> _Item:
        """Return an item; its data are empty where it is made of others."""
        if number not in self._kinds:
            raise damaged("it does not have the picture that it speaks of")
        indices = [index for index in self._of.get(number, ()) if index <= len(self._properties)]
        properties = _by_kind(self._properties[index - 1] for index in indices if index)
        return _Item(self._kinds[number], properties, self._content(number))

    def of(self, number: int) -> list[int]:
        """Return the items that one is made of."""
        version = self._references[0] if self._references else 0
        form = ">I" if version else ">H"
        width = struct.calcsize(form)
        for kind, (start, _) in _boxes(self._references, _VERSION_BYTES, len(self._references)):
            whole, count = struct.unpack_from(form + "H", self._references, start)
            if kind == b"dimg" and whole == number:
                if count > _MAX_TILES:
                    raise UnreadableImageError(
                        f"has too many tiles: {count}, at most {_MAX_TILES} are taken"
                    )
                return list(
                    struct.unpack_from(f">{count}{form[1]}", self._references, start + width + 2)
                )
        raise damaged("it does not say what its picture is made of")

    def _content(self, number: int) -> bytes:
        in_idat, extents = self._places.get(number, (False, []))
        source = self._idat if in_idat else self._data
        for start, length in extents:
            if start + length > len(source):
                raise cut_short("the picture", start, length, len(source) - start)
            # One without bytes takes time as well.
            self._take(length + 1)
        return b"".join(source[start : start + length] for start, length in extents)

    def _take(self, length: int) -> None:
        self._taken += length
        if self._taken > _MOST_COPIES * len(self._data):
            raise damaged("its parts are used again and again")


def _kinds(part: bytes) -> Iterator[tuple[int, bytes]]:
    start = _VERSION_BYTES + (4 if part[0] else 2)
    for kind, (first, _) in _boxes(part, start, len(part)):
        if kind == b"infe" and part[first] in (2, 3):
            number, _, what = struct.unpack_from(
                ">IH4s" if part[first] == 3 else ">HH4s", part, first + _VERSION_BYTES
            )
            yield number, what


def _associations(part: bytes) -> Iterator[tuple[int, list[int]]]:
    """Yield the number of each item, and which properties it has, counted from 1."""
    number_form = ">IB" if part[0] else ">HB"
    index_form, index_mask = ("H", 0x7FFF) if part[3] & 1 else ("B", 0x7F)
    (count,) = struct.unpack_from(">I", part, _VERSION_BYTES)
    at = _VERSION_BYTES + 4
    for _ in range(count):
        number, size = struct.unpack_from(number_form, part, at)
        at += struct.calcsize(number_form)
        indices = struct.unpack_from(f">{size}{index_form}", part, at)
        at += struct.calcsize(f">{size}{index_form}")
        yield number, [index & index_mask for index in indices]


def _places(part: bytes) -> Iterator[tuple[int, tuple[bool, list[tuple[int, int]]]]]:
    """Yield the number of each item, whether it is in the box idat, and its parts."""
    version = part[0]
    offset_bytes, length_bytes, base_bytes = part[4] >> 4, part[4] & 15, part[5] >> 4
    index_bytes = part[5] & 15 if version else 0
    at = 6

    def read(width: int) -> int:
        nonlocal at
        at += width
        if at > len(part):
            raise damaged("it ends amid the places of its parts")
        return int.from_bytes(part[at - width : at], "big")

    count = read(4 if version == 2 else 2)
    if count > _MAX_BOXES:
        raise _too_many()
    parts = 0
    for _ in range(count):
        number = read(4 if version == 2 else 2)
        method = read(2) & 15 if version else 0
        read(2)
        base = read(base_bytes)
        extents = []
        number_of_extents = read(2)
        parts += number_of_extents
        if parts > _MAX_BOXES:
            raise _too_many()
        for _ in range(number_of_extents):
            read(index_bytes)
            extents.append((base + read(offset_bytes), read(length_bytes)))
        yield number, (method == 1, extents)


def _too_many() -> UnreadableImageError:
    return UnreadableImageError(f"has too many parts: at most {_MAX_BOXES} are taken")
