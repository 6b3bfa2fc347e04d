"""The clients, and servers whose contract is of another version."""

from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2, status_pb2
from twins import Client

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import (
    FaceEmbeddingError,
    InvalidRequestError,
    RawFace,
    ServerError,
    ServerUnavailableError,
    _errors,
)
from face_embedding_client._types import Embedding
from face_embedding_server.faces.images import Image as Pixels
from support import other_contracts
from support.other_contracts import LATER_VALUE

Tampered = Callable[[Callable[[Any], Any]], str]
FIRST, LATER = other_contracts.first(), other_contracts.later()


@pytest.fixture
def face(faces: list[Pixels]) -> RawFace:
    return RawFace(faces[0], "BGR")


def is_answer(message: Any) -> bool:
    return message.DESCRIPTOR.name.endswith("Response") and message.DESCRIPTOR.name in FIRST


def as_later(message: Any) -> Any:
    """An answer of a later server, with what no client of this version knows."""
    if not is_answer(message):
        return message
    if isinstance(message, pb.CompareResponse):
        message.decision = LATER_VALUE
    if isinstance(message, pb.GetModelInfoResponse):
        message.weights_origin = LATER_VALUE
    if isinstance(message, pb.EmbedResponse):
        message.results[0].warnings.add(reason=LATER_VALUE, value=1)
    later: Any = LATER[message.DESCRIPTOR.name].FromString(message.SerializeToString())
    other_contracts.fill(later)
    return type(message).FromString(later.SerializeToString())


def as_first(message: Any) -> Any:
    """An answer of the first server, without what it did not know."""
    if not is_answer(message):
        return message
    first: Any = FIRST[message.DESCRIPTOR.name].FromString(message.SerializeToString())
    first.DiscardUnknownFields()
    return type(message).FromString(first.SerializeToString())


def of_another_kind(message: Any) -> Any:
    """An answer with an outcome that is none of the known ones."""
    results = message.results if isinstance(message, pb.EmbedResponse) else []
    results = [message.result] if isinstance(message, pb.EmbedStreamResponse) else results
    for result in results:
        result.ClearField(result.WhichOneof("outcome"))
    return message


@pytest.mark.parametrize("alter", [as_later, as_first])
def test_embed(
    kind: type[Client], tampered: Tampered, alter: Any, face: RawFace, any_client: Client
) -> None:
    """An embedding is read from the answer of a later server, and of the first one."""
    found = kind(tampered(alter)).embed(face)
    np.testing.assert_array_equal(found.values, any_client.embed(face).values)


@pytest.mark.parametrize("alter", [as_later, as_first])
def test_stream(kind: type[Client], tampered: Tampered, alter: Any, face: RawFace) -> None:
    """So are those of a stream."""
    ((name, found),) = kind(tampered(alter)).embed_stream([("a", face)])
    assert (name, type(found)) == ("a", Embedding)


def test_later_warning(kind: type[Client], tampered: Tampered, face: RawFace) -> None:
    """A warning that the client does not know is told by its number."""
    warnings = kind(tampered(as_later)).embed(face).warnings
    assert warnings[-1].reason == str(LATER_VALUE)


def test_later_decision(kind: type[Client], tampered: Tampered, face: RawFace) -> None:
    """A decision that the client does not know is told by its number, and is no match."""
    found = kind(tampered(as_later)).compare(face, face, threshold=0.5)
    assert (found.decision, found.match) == (str(LATER_VALUE), None)


def test_first_decision(kind: type[Client], tampered: Tampered, face: RawFace) -> None:
    """The decision of the first server is read."""
    found = kind(tampered(as_first)).compare(face, face, threshold=0.5)
    assert (found.match, found.model_version, found.first) == (True, "", None)


def test_later_model_info(kind: type[Client], tampered: Tampered) -> None:
    """An origin that the client does not know is told by its number."""
    assert kind(tampered(as_later)).model_info().weights_origin == str(LATER_VALUE)


def test_first_model_info(kind: type[Client], tampered: Tampered) -> None:
    """What the first server did not say of its model is empty."""
    info = kind(tampered(as_first)).model_info()
    assert (info.detector, info.served_models, info.drift) == ("", (), None)
    assert info.max_faces_per_request == 4


def test_unknown_outcome(kind: type[Client], tampered: Tampered, face: RawFace) -> None:
    """An outcome that the client does not know is an error, and no embedding without values."""
    with pytest.raises(ServerError, match="is one of them of another version"):
        kind(tampered(of_another_kind)).embed(face)


def test_unknown_outcome_of_a_stream(kind: type[Client], tampered: Tampered, face: RawFace) -> None:
    """So it is in a stream."""
    ((_, found),) = kind(tampered(of_another_kind)).embed_stream([("a", face)])
    assert isinstance(found, ServerError)


def test_unknown_method(kind: type[Client]) -> None:
    """A method that the server does not have is an error that says so."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(ServerError, match="another one, or of an earlier version"):
        kind(f"127.0.0.1:{port}").model_info()
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (code_pb2.INVALID_ARGUMENT, InvalidRequestError),
        (code_pb2.UNAVAILABLE, ServerUnavailableError),
        (LATER_VALUE, ServerError),
    ],
)
def test_later_reasons(code: int, error: type[FaceEmbeddingError]) -> None:
    """An error with a reason that the client does not know is what its code says."""
    status = status_pb2.Status(code=code, message="no")
    status.details.add().Pack(_errors.error_details_pb2.ErrorInfo(reason="LATER"))
    status.details.add().Pack(_errors.error_details_pb2.RetryInfo())
    status.details[1].value = b"\xff"
    found = _errors.from_status(status)
    assert (type(found), found.reason) == (error, "LATER")


class Refused(grpc.RpcError):
    """A call that failed with trailers of somebody else's making."""

    def __init__(self, *trailers: tuple[str, str | bytes]) -> None:
        self.trailers = trailers

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self.trailers

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self) -> str:
        return "no"


@pytest.mark.parametrize(
    "trailer",
    [("grpc-status-details-bin", b"\xff"), ("grpc-retry-pushback-ms", "9" * 5_000)],
    ids=lambda trailer: trailer[0],
)
def test_odd_trailers(trailer: tuple[str, str | bytes]) -> None:
    """Trailers that are not what they should be leave an error of this package."""
    found = _errors.from_rpc_error(Refused(trailer), "address", lambda *_: "")
    assert isinstance(found, InvalidRequestError)
