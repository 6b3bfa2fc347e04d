"""Callers with the contract of another version than the server's."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.faces.images import Image
from support import encode, info_of, other_contracts, status_of
from support.other_contracts import LATER_VALUE

SERVICE = "/face_embedding.v1.FaceEmbeddingService"
FIRST, LATER = other_contracts.first(), other_contracts.later()


def call(channel: grpc.Channel, method: str, request: Message, answer: type[Message]) -> Any:
    send = channel.unary_unary(f"{SERVICE}/{method}", response_deserializer=answer.FromString)
    return send(request.SerializeToString())


def face_of(faces: list[Image]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())


def as_first(request: Message) -> Message:
    """The request of a caller of the first version."""
    made = FIRST[request.DESCRIPTOR.name].FromString(request.SerializeToString())
    made.DiscardUnknownFields()  # type: ignore[attr-defined]  # Not in its types.
    assert made.SerializeToString(deterministic=True) == request.SerializeToString(
        deterministic=True
    )
    return made


def as_later(request: Message) -> Any:
    """The request of a later caller, who fills a field more in each message of it."""
    made = LATER[request.DESCRIPTOR.name].FromString(request.SerializeToString())
    other_contracts.fill(made)
    return made


def test_first_embed(channel: grpc.Channel, faces: list[Image]) -> None:
    """A caller of the first version gets its embedding."""
    request = pb.EmbedRequest(faces=[face_of(faces)])
    answer = call(channel, "Embed", as_first(request), FIRST["EmbedResponse"])
    now = call(channel, "Embed", request, pb.EmbedResponse)
    assert answer.results[0].WhichOneof("outcome") == "embedding"
    assert answer.results[0].embedding.values == now.results[0].embedding.values


def test_first_stream(channel: grpc.Channel, faces: list[Image]) -> None:
    """A caller of the first version gets the answers of a stream."""
    send = channel.stream_stream(
        f"{SERVICE}/EmbedStream",
        request_serializer=lambda request: as_first(request).SerializeToString(),
        response_deserializer=FIRST["EmbedStreamResponse"].FromString,
    )
    (answer,) = send(iter([pb.EmbedStreamRequest(id="a", face=face_of(faces))]))
    assert (answer.id, answer.result.WhichOneof("outcome")) == ("a", "embedding")


def test_first_compare(channel: grpc.Channel, faces: list[Image]) -> None:
    """A caller of the first version gets a decision by its threshold."""
    side = pb.CompareSide(face=face_of(faces))
    request = pb.CompareRequest(first=side, second=side, threshold=0.5)
    answer = call(channel, "Compare", as_first(request), FIRST["CompareResponse"])
    assert (answer.decision, answer.threshold) == (pb.DECISION_MATCH, 0.5)


def test_first_model_info(channel: grpc.Channel) -> None:
    """A caller of the first version gets the description of the model, with the limits."""
    request = as_first(pb.GetModelInfoRequest())
    answer = call(channel, "GetModelInfo", request, FIRST["GetModelInfoResponse"])
    assert answer.weights_origin == pb.WEIGHTS_ORIGIN_SYNTHETIC
    assert answer.limits.max_faces_per_request == 4


REQUESTS: dict[str, Callable[[pb.Face], Message]] = {
    "Embed": lambda face: pb.EmbedRequest(faces=[face, face]),
    "Compare": lambda face: pb.CompareRequest(
        first=pb.CompareSide(face=face), second=pb.CompareSide(face=face), threshold=0.5
    ),
    "GetModelInfo": lambda _: pb.GetModelInfoRequest(),
}


@pytest.mark.parametrize("method", REQUESTS)
def test_unknown_fields(method: str, channel: grpc.Channel, faces: list[Image]) -> None:
    """Fields that the server does not know are ignored, in every message of a request."""
    request = REQUESTS[method](face_of(faces))
    kind: type[Message] = getattr(pb, f"{method}Response")
    assert call(channel, method, as_later(request), kind) == call(channel, method, request, kind)


def embed(**face: Any) -> pb.EmbedRequest:
    return pb.EmbedRequest(faces=[pb.Face(**face)])


ALIGNED = pb.Aligned()
RAW: dict[str, Any] = {
    "data": bytes(112 * 112 * 3),
    "width": 112,
    "height": 112,
    "channel_order": LATER_VALUE,
}
SELECTED: Any = {"selection": LATER_VALUE}
UPRIGHT: Any = {"upright": LATER_VALUE}
# Of one face's file, with what the refusal says.
UNKNOWN: dict[str, tuple[Callable[[bytes], Message], str, str]] = {
    "channel order": (
        lambda _: embed(raw=pb.RawImage(**RAW), aligned=ALIGNED),
        "CHANNEL_ORDER",
        "faces[0].raw.channel_order",
    ),
    "normalization": (
        lambda data: pb.EmbedRequest(
            faces=[pb.Face(encoded=data, aligned=ALIGNED)],
            normalization=LATER_VALUE,  # type: ignore[arg-type]  # Of a later version.
        ),
        "NORMALIZATION",
        "normalization",
    ),
    "selection": (
        lambda data: embed(encoded=data, detect=pb.DetectFace(**SELECTED)),
        "FACE_SELECTION",
        "faces[0].detect.selection",
    ),
    "upright": (
        lambda data: embed(encoded=data, detect=pb.DetectFace(**UPRIGHT)),
        "UPRIGHT",
        "faces[0].detect.upright",
    ),
    "kind of image": (
        lambda _: as_later(embed(aligned=ALIGNED)),
        "FIELD_MISSING",
        "faces[0].image",
    ),
    "preparation": (
        lambda data: as_later(embed(encoded=data)),
        "FIELD_MISSING",
        "faces[0].preparation",
    ),
    "side": (lambda _: as_later(pb.CompareRequest()), "FIELD_MISSING", "first"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_alternatives(name: str, channel: grpc.Channel, faces: list[Image]) -> None:
    """A value or an alternative that the server does not know is refused, and not guessed."""
    make, reason, field = UNKNOWN[name]
    request = make(encode(faces[0]))
    method = request.DESCRIPTOR.name.removesuffix("Request")
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, method, request, pb.EmbedResponse)
    info = info_of(status_of(refused.value))
    assert (info.reason, info.metadata["field"]) == (reason, field)


def test_unknown_criterion(channel: grpc.Channel, faces: list[Image]) -> None:
    """By a criterion that the server does not know nothing is decided."""
    side = pb.CompareSide(face=face_of(faces))
    request = as_later(pb.CompareRequest(first=side, second=side))
    answer = call(channel, "Compare", request, pb.CompareResponse)
    assert answer.decision == pb.DECISION_UNSPECIFIED
    assert not answer.HasField("threshold")


def test_unknown_method(channel: grpc.Channel) -> None:
    """A method that the server does not have is UNIMPLEMENTED."""
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, "EmbedVideo", pb.EmbedRequest(), pb.EmbedResponse)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
