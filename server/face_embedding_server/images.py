"""From the faces of a request to pixels.

Here the one form that faces have inside the server is made: uint8, HWC, channels **BGR**, as
OpenCV decodes images.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.manifest import Input
from face_embedding_server import image_headers
from face_embedding_server.errors import Refusal
from face_embedding_server.image_headers import UnreadableImageError

Face = NDArray[np.uint8]

DEFAULT_MAX_ENCODED_BYTES = 10 << 20
_CHANNELS = 3


@dataclass(frozen=True)
class FaceReader:
    """Reads faces of one size.

    Args:
        width: the width of an aligned face in pixels.
        height: its height in pixels.
        max_encoded_bytes: the most bytes of an encoded image.
    """

    width: int
    height: int
    max_encoded_bytes: int

    @classmethod
    def of(cls, size: Input, max_encoded_bytes: int = DEFAULT_MAX_ENCODED_BYTES) -> "FaceReader":
        """Return a reader of a network's aligned faces."""
        return cls(size.width, size.height, max_encoded_bytes)

    def read(self, face: pb.Face) -> Face:
        """Return a face as uint8 `[height, width, 3]`, BGR.

        Raises:
            Refusal: if the face lacks something, is damaged or has another size.
        """
        if face.WhichOneof("preparation") is None:
            raise Refusal(
                pb.ERROR_REASON_FIELD_MISSING,
                "say how the face is prepared: set 'aligned' if the image is the aligned face",
                "preparation",
            )
        image = face.WhichOneof("image")
        if image == "raw":
            return self._read_raw(face.raw)
        if image == "encoded":
            return self.decode(face.encoded)
        raise Refusal(
            pb.ERROR_REASON_FIELD_MISSING, "the face has no image: set 'encoded' or 'raw'", "image"
        )

    def decode(self, data: bytes) -> Face:
        """Return the face in a JPEG or PNG file as uint8 `[height, width, 3]`, BGR.

        Raises:
            Refusal: if the file is too large, damaged, of another format or another size.
        """
        if len(data) > self.max_encoded_bytes:
            raise Refusal(
                pb.ERROR_REASON_IMAGE_TOO_LARGE,
                f"the image has {len(data):,} bytes, at most {self.max_encoded_bytes:,} are taken",
                "encoded",
            )
        # An image of another size is never decoded.
        try:
            size = image_headers.read_size(data)
        except UnreadableImageError as error:
            raise _unreadable(str(error)) from error
        self._check_size(size.width, size.height, "encoded")
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise _unreadable("is damaged") from error
        if pixels is None:
            raise _unreadable("is damaged or cut short")
        self._check_size(pixels.shape[1], pixels.shape[0], "encoded")
        return pixels.astype(np.uint8, copy=False)

    def _read_raw(self, raw: pb.RawImage) -> Face:
        if raw.channel_order not in (pb.CHANNEL_ORDER_RGB, pb.CHANNEL_ORDER_BGR):
            raise Refusal(
                pb.ERROR_REASON_CHANNEL_ORDER,
                "say whether the pixels are RGB or BGR: it is never guessed",
                "raw.channel_order",
            )
        expected = raw.width * raw.height * _CHANNELS
        if len(raw.data) != expected:
            raise Refusal(
                pb.ERROR_REASON_RAW_SIZE,
                f"{raw.width}×{raw.height} pixels of 3 channels are {expected:,} bytes, "
                f"there are {len(raw.data):,}",
                "raw.data",
            )
        self._check_size(raw.width, raw.height, "raw")
        pixels = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, _CHANNELS)
        if raw.channel_order == pb.CHANNEL_ORDER_RGB:
            return swap_red_and_blue(pixels)
        return pixels

    def _check_size(self, width: int, height: int, field: str) -> None:
        if (width, height) != (self.width, self.height):
            raise Refusal(
                pb.ERROR_REASON_IMAGE_SIZE,
                f"the image is {width}×{height} pixels and an aligned face is "
                f"{self.width}×{self.height}: align the face by its five landmarks to the "
                f"ArcFace template; resizing the photograph is not enough",
                field,
            )


def swap_red_and_blue(pixels: Face) -> Face:
    """Return the pixels with their channels in reverse order, BGR for RGB and the other way."""
    return np.ascontiguousarray(pixels[..., ::-1])


def _unreadable(what: str) -> Refusal:
    return Refusal(
        pb.ERROR_REASON_IMAGE_UNREADABLE,
        f"the image {what}; send the bytes of a whole JPEG or PNG file",
        "encoded",
    )
