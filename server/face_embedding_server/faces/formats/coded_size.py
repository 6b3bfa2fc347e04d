"""The size that coded pictures of HEIC and AVIF have by themselves, which decoders get memory for.

Sources: ITU-T H.265, sections 7.3.1 and 7.3.2.2; ISO/IEC 14496-15, section 8.3.3; AV1 bitstream
specification, sections 5.3 and 5.5.
"""

from collections.abc import Iterator

from face_embedding_server.faces.formats.file import ImageSize, UnreadableImageError, damaged

# Coded in blocks, of which the rest is cut off.
_BLOCK = 64
_SEQUENCE_SET = 33
_SEQUENCE_HEADER = 1
# Decoders decode all frames that are there. A picture has one, or up to four that make it finer.
_FRAMES = {3, 6}
_MAX_FRAMES = 4
_HEVC_HEADER_BYTES = 22
# Encoders write some hundred.
_MAX_CONFIGURATION_BYTES = 4096
# Encoders write one of each of some four kinds.
_MAX_SETS = 64
# HEVC has no three zeros in a row, but in the length before a part.
_LOST = bytes(16)
_PROFILE_BITS = 88
_LEVEL_BITS = 8
_MAX_OBUS = 256


def check(hevc: bool, configuration: bytes, data: bytes, announced: ImageSize) -> None:
    """Refuse a coded picture that is larger than announced.

    Args:
        hevc: whether it is HEVC; AV1 otherwise.
        configuration: of HEVC, the box hvcC.
        data: the coded picture.
        announced: its size.

    Raises:
        UnreadableImageError: if it is larger, or damaged.
    """
    if hevc and _LOST in data:
        raise damaged("a part of its pixel data are zeros that mean nothing")
    sizes = list(_hevc_sizes(configuration) if hevc else _av1_sizes(data))
    if len(sizes) != 1:
        raise damaged(f"its picture has {len(sizes)} sizes")
    (coded,) = sizes
    if coded.width >= announced.width + _BLOCK or coded.height >= announced.height + _BLOCK:
        raise damaged(f"it announces a picture of {announced}, and has one of {coded}")


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, number: int) -> int:
        self._left -= number
        if self._left < 0:
            raise damaged("it ends amid a header of its pixel data")
        return self._value >> self._left & ((1 << number) - 1)

    def read_golomb(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)


def _hevc_sizes(configuration: bytes) -> Iterator[ImageSize]:
    if len(configuration) > _MAX_CONFIGURATION_BYTES:
        raise damaged("the configuration of its picture is too long")
    at = _HEVC_HEADER_BYTES + 1
    left = _MAX_SETS
    for _ in range(configuration[_HEVC_HEADER_BYTES]):
        kind = configuration[at] & 63
        number = int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        left -= number
        if left < 0:
            raise damaged("the configuration of its picture has too many parts")
        for _ in range(number):
            length = int.from_bytes(configuration[at : at + 2], "big")
            if at + 2 + length > len(configuration) or not length:
                raise damaged("it ends amid a header of its pixel data")
            if kind == _SEQUENCE_SET:
                yield _hevc_size(configuration[at + 4 : at + 2 + length])
            at += 2 + length


def _hevc_size(sequence_set: bytes) -> ImageSize:
    bits = _Bits(sequence_set[:256].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + _PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.read(1), bits.read(1)) for _ in range(8 if layers else 0)][:layers]
    for profile, level in present:
        bits.read(profile * _PROFILE_BITS + level * _LEVEL_BITS)
    bits.read_golomb()
    if bits.read_golomb() == 3:
        bits.read(1)
    return ImageSize(bits.read_golomb(), bits.read_golomb())


def _av1_sizes(data: bytes) -> Iterator[ImageSize]:
    at = frames = 0
    for _ in range(_MAX_OBUS):
        if at >= len(data):
            return
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        length = len(data) - at
        if sized:
            length = shift = 0
            while True:
                length |= (data[at] & 127) << shift
                shift += 7
                at += 1
                if not data[at - 1] >> 7 or shift > 28:
                    break
        if length > len(data) - at:
            raise damaged("its pixel data end too early")
        if kind == _SEQUENCE_HEADER:
            yield _av1_size(data[at : at + min(length, 256)])
        frames += kind in _FRAMES
        if frames > _MAX_FRAMES:
            raise UnreadableImageError(f"has too many frames: at most {_MAX_FRAMES} are taken")
        at += length
    raise UnreadableImageError(f"has too many parts: at most {_MAX_OBUS} are taken")


def _av1_size(header: bytes) -> ImageSize:
    bits = _Bits(header)
    bits.read(4)
    if bits.read(1):
        bits.read(5)
    else:
        # A still picture has no timing.
        if bits.read(1):
            raise UnreadableImageError("is of a kind of AVIF that is not supported: with timing")
        delays = bits.read(1)
        for _ in range(bits.read(5) + 1):
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if delays and bits.read(1):
                bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return ImageSize(bits.read(width_bits) + 1, bits.read(height_bits) + 1)
