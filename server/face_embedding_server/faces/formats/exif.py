"""The one thing that is read from EXIF: how to turn the picture.

Only the main picture's entries are read, not those of its thumbnail.
Source: Exif 2.32, section 4.6.
"""

import re
import struct

UPRIGHT = 1
PREFIX = b"Exif\0\0"
# Some writers put it before EXIF where the format has none, or twice.
_PREFIXES = re.compile(rb"(?:Exif\0\0)*")
_ORIENTATION = 0x0112
_ORIENTATIONS = range(1, 9)
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# SHORT is what the standard asks for; other integers are written too.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
_ENTRY = "HHI"
_ENTRY_BYTES = 12
# The value of an entry stands at its end, or elsewhere if it is larger.
_VALUE_AT = 8
_VALUE_BYTES = 4
# Cameras write some twenty entries there.
_MAX_ENTRIES = 500


def orientation(data: bytes) -> int:
    """Return the orientation that EXIF states, 1 to 8: upright if it states none or is damaged."""
    start = _PREFIXES.match(data).end()  # type: ignore[union-attr]  # it matches nothing as well
    tiff = memoryview(data)[start:]
    order = _BYTE_ORDERS.get(bytes(tiff[:4]))
    if order is None:
        return UPRIGHT
    try:
        (position,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, position)
        first = position + 2
        for entry in range(first, first + _ENTRY_BYTES * min(count, _MAX_ENTRIES), _ENTRY_BYTES):
            tag, kind, number = struct.unpack_from(f"{order}{_ENTRY}", tiff, entry)
            if tag == _ORIENTATION and kind in _TYPES and number:
                value = f"{order}{_TYPES[kind]}"
                at = entry + _VALUE_AT
                if number * struct.calcsize(value) > _VALUE_BYTES:
                    (at,) = struct.unpack_from(f"{order}I", tiff, at)
                (found,) = struct.unpack_from(value, tiff, at)
                return int(found) if found in _ORIENTATIONS else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
