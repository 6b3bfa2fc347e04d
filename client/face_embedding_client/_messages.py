"""From Python values to requests. Both clients are thin shells around this module."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client._errors import InvalidRequestError
from face_embedding_client._types import (
    AlignedFace,
    Embedding,
    Face,
    Landmarks,
    ModelInfo,
    Photograph,
    RawFace,
    Upright,
)

# The client's own limit for what it sends and takes. The server has one too and tells it.
MAX_MESSAGE_BYTES = 64 << 20
# What a message holds beside its faces, one face beside its pixels, and the answer for one face
# beside its values, with room to spare.
_MESSAGE_OVERHEAD_BYTES = 1024
_FACE_OVERHEAD_BYTES = 64
_ANSWER_OVERHEAD_BYTES = 512
# Any server takes so much in one message.
_LEAST_ROOM_BYTES = 1 << 20
_VALUE_BYTES = 4
_CHANNEL_ORDERS = {"RGB": pb.CHANNEL_ORDER_RGB, "BGR": pb.CHANNEL_ORDER_BGR}
_SELECTIONS = {
    "only": pb.FACE_SELECTION_ONLY,
    "central": pb.FACE_SELECTION_CENTRAL,
    "largest": pb.FACE_SELECTION_LARGEST,
}
_UPRIGHT = {"as_is": pb.UPRIGHT_AS_IS, "auto": pb.UPRIGHT_AUTO}


@dataclass(frozen=True)
class Options:
    """What every request of a client carries: the model, or none, and whether values stay raw."""

    model: str = ""
    raw: bool = False

    @property
    def normalization(self) -> pb.Normalization:
        """The contract's word for it."""
        return pb.NORMALIZATION_NONE if self.raw else pb.NORMALIZATION_L2


def face_message(face: Face) -> pb.Face:
    """Return a face as a message.

    Raises:
        TypeError: if it is neither bytes nor a RawFace of uint8 nor an AlignedFace or a Photograph
            of one of them.
        ValueError: if the pixels are not `[height, width, 3]`, or the channel order, the
            selection or what is said of `upright` is unknown.
    """
    if isinstance(face, bytes | RawFace):
        return pb.Face(**_image(face), aligned=pb.Aligned())
    if isinstance(face, AlignedFace):
        aligned = pb.Aligned(check_alignment=face.check_alignment)
        return pb.Face(**_image(face.image), aligned=aligned)
    if not isinstance(face, Photograph):
        raise TypeError(
            f"a face is an AlignedFace, bytes, a RawFace or a Photograph, not {type(face).__name__}"
        )
    if face.landmarks is not None:
        return pb.Face(**_image(face.image), landmarks=_landmarks_message(face.landmarks))
    if face.select not in _SELECTIONS:
        known = "', '".join(_SELECTIONS)
        raise ValueError(f"select is one of '{known}', not {face.select!r}")
    detect = pb.DetectFace(selection=_SELECTIONS[face.select], upright=_upright(face.upright))
    return pb.Face(**_image(face.image), detect=detect)


def all_faces_message(image: bytes | RawFace, upright: Upright) -> pb.Face:
    """Return an image of which all faces are wanted as a message; raises as `face_message`."""
    detect = pb.DetectFace(selection=pb.FACE_SELECTION_ALL, upright=_upright(upright))
    return pb.Face(**_image(image), detect=detect)


def detect_request(image: bytes | RawFace, upright: Upright) -> pb.DetectRequest:
    """Return a request to find faces; raises as `face_message`."""
    return pb.DetectRequest(**_image(image), upright=_upright(upright))


def _upright(upright: str) -> pb.Upright:
    if upright not in _UPRIGHT:
        raise ValueError(f"upright is 'as_is' or 'auto', not {upright!r}")
    return _UPRIGHT[upright]


def _image(image: bytes | RawFace) -> dict[str, Any]:
    """Return the field of a message that holds an image."""
    if isinstance(image, bytes):
        return {"encoded": image}
    if not isinstance(image, RawFace):
        raise TypeError(f"an image is bytes or a RawFace, not {type(image).__name__}")
    pixels = image.pixels
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"pixels are a NumPy array, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8:
        raise TypeError(f"pixels are uint8, 0 to 255, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are [height, width, 3], not {list(pixels.shape)}")
    if image.channel_order not in _CHANNEL_ORDERS:
        raise ValueError(f"channel_order is 'RGB' or 'BGR', not {image.channel_order!r}")
    raw = pb.RawImage(
        data=pixels.tobytes(),
        width=pixels.shape[1],
        height=pixels.shape[0],
        channel_order=_CHANNEL_ORDERS[image.channel_order],
    )
    return {"raw": raw}


def _landmarks_message(landmarks: Landmarks) -> pb.Landmarks:
    if not isinstance(landmarks, Landmarks):
        raise TypeError(f"landmarks are Landmarks, not {type(landmarks).__name__}")
    points = dataclasses.asdict(landmarks).items()
    return pb.Landmarks(**{name: pb.Point(x=float(x), y=float(y)) for name, (x, y) in points})


def too_large(image: pb.Face | pb.DetectRequest, info: ModelInfo) -> InvalidRequestError | None:
    """Return the error of an image that the server would not take, so that it need not be sent."""
    size, limit = len(image.encoded), info.max_encoded_bytes
    if size <= limit:
        size, limit = image.ByteSize(), _room(info)
    return None if size <= limit else image_too_large(size, limit, image.WhichOneof("image") or "")


def image_too_large(size: int, limit: int, field: str) -> InvalidRequestError:
    """Return the error of an image of more bytes than the server takes."""
    return InvalidRequestError(
        f"the image has {size:,} bytes, at most {limit:,} are taken",
        pb.ErrorReason.Name(pb.ERROR_REASON_IMAGE_TOO_LARGE).removeprefix("ERROR_REASON_"),
        field,
        grpc.StatusCode.INVALID_ARGUMENT,
    )


def surely_fits(request: pb.CompareRequest, info: ModelInfo | None = None) -> bool:
    """Return whether a comparison fits into a message: of any server, or of one with limits."""
    return request.ByteSize() <= (_room(info) if info else _LEAST_ROOM_BYTES)


def batches(
    faces: Sequence[tuple[int, pb.Face]], info: ModelInfo
) -> Iterator[list[tuple[int, pb.Face]]]:
    """Pack numbered faces into as few requests as the server's limits allow, in order."""
    room = _room(info)
    answer_bytes = info.embedding_size * _VALUE_BYTES + _ANSWER_OVERHEAD_BYTES
    most_faces = max(1, min(info.max_faces_per_request, room // answer_bytes))
    batch: list[tuple[int, pb.Face]] = []
    size = 0
    for index, face in faces:
        length = face.ByteSize() + _FACE_OVERHEAD_BYTES
        if batch and (len(batch) == most_faces or size + length > room):
            yield batch
            batch, size = [], 0
        batch.append((index, face))
        size += length
    if batch:
        yield batch


def _room(info: ModelInfo) -> int:
    """Return how many bytes of faces fit into one message."""
    return min(info.max_message_bytes, MAX_MESSAGE_BYTES) - _MESSAGE_OVERHEAD_BYTES


def embed_request(faces: list[pb.Face], options: Options) -> pb.EmbedRequest:
    """Return one request to embed faces."""
    return pb.EmbedRequest(model=options.model, faces=faces, normalization=options.normalization)


def stream_request(item_id: str, face: pb.Face, options: Options) -> pb.EmbedStreamRequest:
    """Return one item of a stream.

    Raises:
        TypeError: if the id is no text.
    """
    if not isinstance(item_id, str):
        raise TypeError(f"an id is a str, not {type(item_id).__name__}")
    return pb.EmbedStreamRequest(
        id=item_id, model=options.model, face=face, normalization=options.normalization
    )


def compare_request(
    first: Face | Embedding,
    second: Face | Embedding,
    threshold: float | None,
    operating_point: str | None,
    model: str,
) -> pb.CompareRequest:
    """Return a comparison.

    Raises:
        ValueError: if there are two criteria.
    """
    if threshold is not None and operating_point is not None:
        raise ValueError("give a threshold or an operating point, not both")
    return pb.CompareRequest(
        model=model,
        first=_side(first),
        second=_side(second),
        threshold=threshold,
        operating_point=operating_point,
    )


def _side(side: Face | Embedding) -> pb.CompareSide:
    if isinstance(side, Embedding):
        stored = pb.Embedding(values=side.values.tolist(), norm=side.norm, space=side.space)
        return pb.CompareSide(embedding=stored)
    return pb.CompareSide(face=face_message(side))
