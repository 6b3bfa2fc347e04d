"""How much the tables of a lossless WebP may take, told before it is decoded.

Its picture has a set of codes for each block of pixels, and libwebp needs up to 20 KB for each set.
The size of the blocks is written behind the pictures of its transforms, so these are read, which
have few pixels, and nothing of them is kept.

Source: RFC 9649, section 3.
"""

from collections.abc import Sequence

from face_embedding_server.faces.formats.file import ImageSize, UnreadableImageError, damaged

# libwebp writes 2,600 at most (MAX_HUFF_IMAGE_SIZE), and so takes 80 MB at worst.
MAX_BLOCKS = 1 << 12
# Of a transform libwebp has one for 16×16 pixels at most, or 16,384.
_TRANSFORM_BITS = 4
_FREE_TRANSFORM_BLOCKS = 1 << 14

_LEAST_BITS = 2
_HEADER_BITS = 8 + 14 + 14 + 1 + 3
_PREDICTOR, _COLOR, _SUBTRACT_GREEN, _PALETTE = range(4)
# How many pixels share a byte, as a power of two, by the most colours.
_PACKED = ((2, 3), (4, 2), (16, 1))
_LITERALS = 256
_LENGTHS = 24
_DISTANCES = 40
_MAX_CACHE_BITS = 11
_MAX_CODE_BITS = 15
_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_LAST_LENGTH = 16
# Of what repeats a length: how many bits, and from how many on.
_REPEATS = {16: (2, 3), 17: (3, 3), 18: (7, 11)}
_FIRST_LENGTH = 8
_WINDOW_BYTES = 8


def check(data: bytes, start: int, end: int, size: ImageSize) -> None:
    """Refuse a picture whose codes may take too much.

    Args:
        data: the file.
        start: where the picture begins in it.
        end: where it ends; nowhere if it is none of these.
        size: of the picture.

    Raises:
        UnreadableImageError: if it is damaged, or has too many blocks.
    """
    width, height = size
    if start == end or width * height <= MAX_BLOCKS << 2 * _LEAST_BITS:
        return  # It cannot have many.
    bits = _Bits(data[start:end])
    bits.position = _HEADER_BITS
    most_of_transform = max(
        _FREE_TRANSFORM_BLOCKS,
        _blocks(width, _TRANSFORM_BITS) * _blocks(height, _TRANSFORM_BITS),
    )
    seen = set()
    while bits.read(1):
        kind = bits.read(2)
        if kind in seen:
            raise damaged("its picture has a transform twice")
        seen.add(kind)
        if kind == _PALETTE:
            colours = bits.read(8) + 1
            _skip(bits, colours)
            packed = next((by for most, by in _PACKED if colours <= most), 0)
            width = _blocks(width, packed)
        elif kind != _SUBTRACT_GREEN:
            by = bits.read(3) + _LEAST_BITS
            count = _blocks(width, by) * _blocks(height, by)
            if count > most_of_transform:
                raise UnreadableImageError(
                    f"has a transform of {count:,} blocks, at most {most_of_transform:,} are taken"
                )
            _skip(bits, count)
    _cache_bits(bits)
    if bits.read(1):
        by = bits.read(3) + _LEAST_BITS
        count = _blocks(width, by) * _blocks(height, by)
        if count > MAX_BLOCKS:
            raise UnreadableImageError(
                f"has codes for each of {count:,} blocks, at most {MAX_BLOCKS:,} are taken"
            )


class _Bits:
    """Bits of a picture, from the least of each byte on."""

    def __init__(self, data: bytes) -> None:
        self.position = 0
        self._end = 8 * len(data)
        self._data = data + bytes(_WINDOW_BYTES)

    def window(self) -> int:
        """Return the next bits, at least 57, with zeros behind the end."""
        at = self.position >> 3
        return int.from_bytes(self._data[at : at + _WINDOW_BYTES], "little") >> (self.position & 7)

    def read(self, count: int) -> int:
        value = self.window() & ((1 << count) - 1)
        self.skip(count)
        return value

    def skip(self, count: int) -> None:
        self.position += count
        if self.position > self._end:
            raise damaged("its picture ends within its codes")


class _Code:
    """A prefix code, from the lengths of the code of each symbol."""

    def __init__(self, lengths: Sequence[int]) -> None:
        used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
        if len(used) == 1:
            used = [(0, used[0][1])]  # The only one takes no bits.
        self._bits = used[-1][0] if used else 0
        self._table = [0] * (1 << self._bits)
        code = 0
        last = 0
        for length, symbol in used:
            code <<= length - last
            last = length
            if code >> length:
                raise damaged("its picture has more codes than there are")
            reverse = int(f"{code:0{length}b}"[::-1], 2) if length else 0
            step = 1 << length
            self._table[reverse::step] = [symbol << 4 | length] * (1 << self._bits >> length)
            code += 1
        if code != 1 << last:
            raise damaged("its picture lacks codes")
        self._mask = (1 << self._bits) - 1

    def read(self, bits: _Bits) -> int:
        """Return the next symbol."""
        if not self._mask:
            return self._table[0] >> 4
        found = self._table[bits.window() & self._mask]
        bits.skip(found & 15)
        return found >> 4


def _skip(bits: _Bits, pixels: int) -> None:
    """Read a picture of a transform."""
    cache = _cache_bits(bits)
    literals = _LITERALS + _LENGTHS + (1 << cache if cache else 0)
    green, red, blue, alpha, distance = (
        _read_code(bits, size) for size in (literals, _LITERALS, _LITERALS, _LITERALS, _DISTANCES)
    )
    while pixels > 0:
        symbol = green.read(bits)
        pixels -= 1
        if symbol < _LITERALS:
            red.read(bits)
            blue.read(bits)
            alpha.read(bits)
        elif symbol < _LITERALS + _LENGTHS:
            pixels -= _read_number(bits, symbol - _LITERALS) - 1
            _read_number(bits, distance.read(bits))


def _cache_bits(bits: _Bits) -> int:
    cache = bits.read(4) if bits.read(1) else None
    if cache is not None and not 1 <= cache <= _MAX_CACHE_BITS:
        raise damaged("its picture has a cache of no size")
    return cache or 0


def _read_code(bits: _Bits, size: int) -> _Code:
    lengths = [0] * size
    if bits.read(1):
        symbols = 1 + bits.read(1)
        first = bits.read(_FIRST_LENGTH if bits.read(1) else 1)
        both = {first, bits.read(8)} if symbols == 2 else {first}
        for symbol in both:
            if symbol >= size:
                raise damaged("its picture has a code for nothing")
            lengths[symbol] = 1
        return _Code(lengths)
    of_lengths = [0] * len(_LENGTH_ORDER)
    for at in _LENGTH_ORDER[: 4 + bits.read(4)]:
        of_lengths[at] = bits.read(3)
    code = _Code(of_lengths)
    most = 2 + bits.read(2 + 2 * bits.read(3)) if bits.read(1) else size
    at, last = 0, _FIRST_LENGTH
    while at < size and most:
        most -= 1
        length = code.read(bits)
        if length < _LAST_LENGTH:
            lengths[at] = length
            last = length or last
            at += 1
            continue
        extra, least = _REPEATS[length]
        count = least + bits.read(extra)
        if at + count > size:
            raise damaged("its picture has codes for nothing")
        if length == _LAST_LENGTH:
            lengths[at : at + count] = [last] * count
        at += count
    return _Code(lengths)


def _read_number(bits: _Bits, prefix: int) -> int:
    if prefix < 4:
        return prefix + 1
    extra = (prefix - 2) >> 1
    return ((2 + (prefix & 1)) << extra) + bits.read(extra) + 1


def _blocks(side: int, bits: int) -> int:
    return (side + (1 << bits) - 1) >> bits
