"""From the images of a request to pixels.

Here the one form that images have inside the server is made: uint8, HWC, channels **BGR**, as
OpenCV decodes images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces import decoders, headers
from face_embedding_server.faces.face import Picture, RawImage
from face_embedding_server.faces.headers import ImageFile, ImageSize, UnreadableImageError
from face_embedding_server.limits import DEFAULT_MAX_ENCODED_BYTES, DEFAULT_MAX_IMAGE_PIXELS

Image = NDArray[np.uint8]
# An aligned face inside the server.
Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
Number = TypeVar("Number", np.uint8, np.float32)

# The names of files that it reads.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif")
CHANNELS = 3
# What libpng decodes; JPEG and WebP have no larger ones.
_MAX_SIDE_PIXELS = 1_000_000
# What makes an image of each EXIF orientation upright: whether to transpose it, and then the code
# of `cv2.flip`: 0 upside down, 1 left to right, -1 both.
_ORIENTATIONS = {
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}


@dataclass(frozen=True)
class ImageReader:
    """Reads images within limits.

    Args:
        max_encoded_bytes: the most bytes of an encoded image.
        max_pixels: the most pixels of an image.
    """

    max_encoded_bytes: int = DEFAULT_MAX_ENCODED_BYTES
    max_pixels: int = DEFAULT_MAX_IMAGE_PIXELS

    def read(self, picture: Picture, only_size: ImageSize | None = None) -> Image:
        """Return an image as uint8 `[height, width, 3]`, BGR.

        Args:
            picture: the image as it came.
            only_size: the only size that is taken, that of an aligned face; None takes any.

        Raises:
            Refusal: if it is damaged or has the wrong size.
        """
        if isinstance(picture, RawImage):
            return self._read_raw(picture, only_size)
        return self.decode(picture.data, only_size)

    def decode(self, data: bytes, only_size: ImageSize | None = None) -> Image:
        """Return the image in an image file; see `read`."""
        if len(data) > self.max_encoded_bytes:
            raise Refusal(
                Reason.IMAGE_TOO_LARGE,
                f"the image has {len(data):,} bytes, at most {self.max_encoded_bytes:,} are taken",
                "encoded",
            )
        file = self._inspected(data, only_size)
        try:
            pixels = _upright(decoders.decode(file), file.orientation)
        except UnreadableImageError as error:
            raise _unreadable(str(error)) from error
        # Turning may have changed it.
        self._check_size(ImageSize(pixels.shape[1], pixels.shape[0]), only_size, "encoded")
        return pixels

    def _inspected(self, data: bytes, only_size: ImageSize | None) -> ImageFile:
        """Return what a file says of itself; an image of another size is never decoded."""
        try:
            file = headers.inspect(data)
            self._check_size(file.size, only_size, "encoded")
            file.check()
        except UnreadableImageError as error:
            raise _unreadable(str(error)) from error
        if max(file.size) > _MAX_SIDE_PIXELS:
            raise Refusal(
                Reason.IMAGE_TOO_LARGE,
                f"the image has {file.size}, a side has at most {_MAX_SIDE_PIXELS:,}",
                "encoded",
            )
        if file.size.width * file.size.height > file.most_pixels:
            raise _unreadable(
                f"is damaged or cut short: it announces {file.size}, and its pixel data can hold "
                f"at most {file.most_pixels:,}"
            )
        return file

    def _read_raw(self, raw: RawImage, only_size: ImageSize | None) -> Image:
        height, width = raw.pixels.shape[:2]
        self._check_size(ImageSize(width, height), only_size, "raw")
        if not raw.pixels.size:
            raise Refusal(Reason.RAW_SIZE, "the image has no pixels", "raw")
        return swap_red_and_blue(raw.pixels) if raw.channel_order == "RGB" else raw.pixels

    def _check_size(self, size: ImageSize, only_size: ImageSize | None, field: str) -> None:
        if only_size and size != only_size:
            raise Refusal(
                Reason.IMAGE_SIZE,
                f"the image is {size} and an aligned face is "
                f"{only_size.width}×{only_size.height}: have the server find the face "
                f"('detect'), give its 'landmarks', or align it by its five landmarks to the "
                f"ArcFace template; resizing the photograph is not enough",
                field,
            )
        if size.width * size.height > self.max_pixels:
            raise Refusal(
                Reason.IMAGE_TOO_LARGE,
                f"the image has {size}, at most {self.max_pixels:,} are taken",
                field,
            )


def _upright(pixels: Image, orientation: int) -> Image:
    transposed, flip = _ORIENTATIONS.get(orientation, (False, None))
    if transposed:
        pixels = cv2.transpose(pixels)  # type: ignore[assignment]  # it is uint8
    # In place: a large image is held only once.
    return pixels if flip is None else cv2.flip(pixels, flip, pixels)  # type: ignore[return-value]


def swap_red_and_blue(pixels: NDArray[Number]) -> NDArray[Number]:
    """Return the pixels with their channels in reverse order, BGR for RGB and the other way."""
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]  # of that type


def _unreadable(what: str) -> Refusal:
    return Refusal(
        Reason.IMAGE_UNREADABLE,
        f"the image {what}; send the bytes of a whole {headers.NAMES} file",
        "encoded",
    )


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, by their suffixes, in the order of their names.

    Raises:
        OSError: if the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
