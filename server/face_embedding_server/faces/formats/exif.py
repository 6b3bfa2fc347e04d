"""The one thing that is read from EXIF: how to turn the picture. Source: Exif 2.32, section 4.6."""

import struct

UPRIGHT = 1
PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Cameras write some twenty entries there.
_MAX_ENTRIES = 500


def orientation(tiff: bytes) -> int:
    """Return the orientation that EXIF states, upright if it states none or is damaged."""
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (position,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, position)
        first = position + 2
        for entry in range(first, first + 12 * min(count, _MAX_ENTRIES), 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:
        pass
    return UPRIGHT
