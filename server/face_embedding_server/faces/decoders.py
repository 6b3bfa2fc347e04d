"""From a file whose structure has been walked to its pixels as they are stored.

Damage that a decoder notices is refused. Of lost data in a JPEG it only warns, and goes on; OpenCV
keeps those warnings to itself, so JPEGs are decoded by simplejpeg. Both are libjpeg-turbo inside,
and give the same pixels.
"""

import re
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from face_embedding_server.faces.formats.file import (
    Decoder,
    ImageFile,
    UnreadableImageError,
    damaged,
)

_Pixels = NDArray[np.uint8]

# libjpeg-turbo tells of its first warning, and nothing comes after the end of an image (0xD9): with
# this one, all before it is whole.
_PADDED = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
# What cameras pad with is shorter, and one byte again and again. Pixel data that are left over
# after damage are neither.
_MAX_PADDING_BYTES = 64
_END_OF_IMAGE_BYTES = 2
# Of samplings that hardly anybody writes. OpenCV decodes them, and does not tell of damage.
_UNKNOWN_SAMPLING = "Could not determine subsampling"


def decode(file: ImageFile) -> _Pixels:
    """Return a file's pixels, uint8 `[height, width, 3]`, BGR, as they are stored.

    Raises:
        UnreadableImageError: if the decoder finds that something is lost.
    """
    return _DECODERS[file.decoder](file.data)


def _decode_jpeg(data: bytes) -> _Pixels:
    try:
        return simplejpeg.decode_jpeg(data, "BGR")  # type: ignore[no-any-return]  # it is uint8
    except ValueError as error:
        warning = str(error)
    if _UNKNOWN_SAMPLING in warning:
        return _decode_other(data)
    if _is_padding(warning, data):
        return simplejpeg.decode_jpeg(data, "BGR", strict=False)  # type: ignore[no-any-return]
    raise damaged(f"its decoder says '{warning}'")


def _decode_jpeg_of_inks(data: bytes) -> _Pixels:
    # As small as can be, since it is only looked at: OpenCV takes less memory for the pixels.
    try:
        simplejpeg.decode_jpeg(data, "CMYK", min_height=1, min_width=1)
    except ValueError as error:
        warning = str(error)
        if _UNKNOWN_SAMPLING not in warning and not _is_padding(warning, data):
            raise damaged(f"its decoder says '{warning}'") from error
    return _decode_other(data)


def _is_padding(warning: str, data: bytes) -> bool:
    """Tell whether all that a decoder warns of is a padded end of the pixel data."""
    found = _PADDED.search(warning)
    if not found or (number := int(found[1])) >= _MAX_PADDING_BYTES:
        return False
    pixel_data = data[:-_END_OF_IMAGE_BYTES].rstrip(b"\xff")
    return len(set(pixel_data[-number:])) == 1


def _decode_other(data: bytes) -> _Pixels:
    try:
        pixels = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise UnreadableImageError("is damaged") from error
    if pixels is None:
        raise damaged("its pixel data cannot be decoded")
    return pixels  # type: ignore[return-value]  # it is uint8


_DECODERS: dict[Decoder, Callable[[bytes], _Pixels]] = {
    Decoder.JPEG: _decode_jpeg,
    Decoder.JPEG_OF_INKS: _decode_jpeg_of_inks,
    Decoder.OTHER: _decode_other,
}
