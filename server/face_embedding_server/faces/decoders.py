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
_AVIF = re.compile(r"AVIF: +(?!NO)\S")
_TO_BGR = {
    "BGRA": cv2.COLOR_BGRA2BGR,
    "BGRa": cv2.COLOR_BGRA2BGR,
    "L": cv2.COLOR_GRAY2BGR,
    "I;16": cv2.COLOR_GRAY2BGR,
}


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


def _decode_avif(data: bytes) -> _Pixels:
    if not _AVIF.search(cv2.getBuildInformation()):
        raise UnreadableImageError(
            "is an AVIF file, which this server's OpenCV does not read: install a later one "
            "(pip install --upgrade opencv-python-headless)"
        )
    return _decode_other(data)


def _decode_heic(data: bytes) -> _Pixels:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadableImageError(
            "is a HEIC file, for which this server lacks a decoder (pip install "
            "'face-embedding[heif]')"
        ) from error
    try:
        picture = pillow_heif.open_heif(data, convert_hdr_to_8bit=True, bgr_mode=True)
        pixels = np.asarray(picture)
    except Exception as error:  # Of damaged files it raises a dozen kinds.
        raise damaged("its pixel data cannot be decoded") from error
    if pixels.dtype == np.uint16:
        # Of grey it leaves as many bits as there are, in the upper ones of 16.
        pixels = (pixels >> 8).astype(np.uint8)
    return cv2.cvtColor(pixels, _TO_BGR[picture.mode]) if picture.mode in _TO_BGR else pixels  # type: ignore[return-value]  # it is uint8


_DECODERS: dict[Decoder, Callable[[bytes], _Pixels]] = {
    Decoder.JPEG: _decode_jpeg,
    Decoder.JPEG_OF_INKS: _decode_jpeg_of_inks,
    Decoder.HEIC: _decode_heic,
    Decoder.AVIF: _decode_avif,
    Decoder.OTHER: _decode_other,
}
