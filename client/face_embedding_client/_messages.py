"""Between Python values and messages. Both clients are thin shells around this module."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _errors
from face_embedding_client._errors import FaceEmbeddingError, InvalidRequestError
from face_embedding_client._types import Comparison, Drift, Embedding, Face, ModelInfo, RawFace

DEFAULT_TIMEOUT_S = 30.0
# The client's own limit for what it sends and takes. The server has one too and tells it.
MAX_MESSAGE_BYTES = 64 << 20
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
# What a message holds beside its faces, and one face beside its pixels, with room to spare.
_MESSAGE_OVERHEAD_BYTES = 1024
_FACE_OVERHEAD_BYTES = 64
_VALUE_BYTES = 4
_CHANNEL_ORDERS = {"RGB": pb.CHANNEL_ORDER_RGB, "BGR": pb.CHANNEL_ORDER_BGR}


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
        TypeError: if it is neither bytes nor a RawFace of uint8.
        ValueError: if the pixels are not `[height, width, 3]`, or the channel order is unknown.
    """
    if isinstance(face, bytes):
        return pb.Face(encoded=face, aligned=pb.Aligned())
    if not isinstance(face, RawFace):
        raise TypeError(f"a face is bytes or a RawFace, not {type(face).__name__}")
    pixels = face.pixels
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"pixels are a NumPy array, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8:
        raise TypeError(f"pixels are uint8, 0 to 255, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are [height, width, 3], not {list(pixels.shape)}")
    if face.channel_order not in _CHANNEL_ORDERS:
        raise ValueError(f"channel_order is 'RGB' or 'BGR', not {face.channel_order!r}")
    raw = pb.RawImage(
        data=pixels.tobytes(),
        width=pixels.shape[1],
        height=pixels.shape[0],
        channel_order=_CHANNEL_ORDERS[face.channel_order],
    )
    return pb.Face(raw=raw, aligned=pb.Aligned())


def too_large(face: pb.Face, info: ModelInfo) -> InvalidRequestError | None:
    """Return the error of a face that the server would not take, so that it need not be sent."""
    size, limit = len(face.encoded), info.max_encoded_bytes
    if size <= limit:
        size, limit = face.ByteSize(), _room(info)
    if size <= limit:
        return None
    return InvalidRequestError(
        f"the image has {size:,} bytes, at most {limit:,} are taken",
        pb.ErrorReason.Name(pb.ERROR_REASON_IMAGE_TOO_LARGE).removeprefix("ERROR_REASON_"),
        face.WhichOneof("image") or "",
        grpc.StatusCode.INVALID_ARGUMENT,
    )


def batches(
    faces: Sequence[tuple[int, pb.Face]], info: ModelInfo
) -> Iterator[list[tuple[int, pb.Face]]]:
    """Pack numbered faces into as few requests as the server's limits allow, in order."""
    room = _room(info)
    answer_bytes = info.embedding_size * _VALUE_BYTES + _FACE_OVERHEAD_BYTES
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
    first: Face | Embedding, second: Face | Embedding, threshold: float | None, model: str
) -> pb.CompareRequest:
    """Return a comparison."""
    return pb.CompareRequest(
        model=model, first=_side(first), second=_side(second), threshold=threshold
    )


def _side(side: Face | Embedding) -> pb.CompareSide:
    if isinstance(side, Embedding):
        stored = pb.Embedding(values=side.values.tolist(), norm=side.norm, space=side.space)
        return pb.CompareSide(embedding=stored)
    return pb.CompareSide(face=face_message(side))


def embedding_or_error(result: pb.EmbedResult) -> Embedding | FaceEmbeddingError:
    """Return what became of a face."""
    if result.WhichOneof("outcome") == "error":
        return _errors.from_status(result.error)
    message = result.embedding
    return Embedding(np.array(message.values, np.float32), message.norm, message.space)


def comparison(response: pb.CompareResponse) -> Comparison:
    """Return the result of a comparison."""
    decided = response.decision != pb.DECISION_UNSPECIFIED
    return Comparison(
        cosine_similarity=response.cosine_similarity,
        match=response.decision == pb.DECISION_MATCH if decided else None,
        threshold=response.threshold if response.HasField("threshold") else None,
        space=response.space,
    )


def model_info(response: pb.GetModelInfoResponse) -> ModelInfo:
    """Return the description of a model."""
    limits = response.limits
    order = pb.ChannelOrder.Name(response.channel_order).removeprefix("CHANNEL_ORDER_")
    origin = pb.WeightsOrigin.Name(response.weights_origin).removeprefix("WEIGHTS_ORIGIN_")
    return ModelInfo(
        name=response.name,
        backend=response.backend,
        backend_version=response.backend_version,
        device=response.device,
        precision=response.precision,
        channel_order=order,
        input_width=response.input_width,
        input_height=response.input_height,
        embedding_size=response.embedding_size,
        embedding_space=response.embedding_space,
        weights_sha256=response.weights_sha256,
        weights_origin=origin,
        weights_note=response.weights_note,
        license_note=response.license_note,
        max_faces_per_request=limits.max_faces_per_request,
        max_message_bytes=limits.max_message_bytes,
        max_encoded_bytes=limits.max_encoded_bytes,
        max_stream_in_flight=limits.max_stream_in_flight,
        drift=_drift(response.drift) if response.HasField("drift") else None,
    )


def _drift(message: pb.Drift) -> Drift:
    return Drift(
        **{field.name: getattr(message, field.name) for field in dataclasses.fields(Drift)}
    )
