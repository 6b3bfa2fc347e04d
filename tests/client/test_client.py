"""The clients: both twins do the same, against a real server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
from twins import Blocking, Client

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    DeadlineExceededError,
    Embedding,
    Face,
    FaceEmbeddingClient,
    FaceEmbeddingError,
    InvalidRequestError,
    ModelSummary,
    RawFace,
    ServerUnavailableError,
    UnknownModelError,
)
from face_embedding_server.faces.images import Image as Pixels
from support import MOBILE, RunningServer, after, encode, wait_until


@pytest.fixture
def face(faces: list[Pixels]) -> RawFace:
    return RawFace(faces[0], "BGR")


class Silent(pb_grpc.FaceEmbeddingServiceServicer):
    """A server that takes faces and never answers."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        limits = pb.Limits(max_encoded_bytes=1 << 20, max_message_bytes=1 << 20)
        return pb.GetModelInfoResponse(limits=limits)

    def Compare(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.over.wait()

    def EmbedStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.over.wait()
        yield from ()


@pytest.fixture
def silent_address() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = Silent()
    pb_grpc.add_FaceEmbeddingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    servicer.over.set()
    server.stop(0).wait()


def test_embed(any_client: Client, face: RawFace) -> None:
    """One face gives a float32 vector of length 1 in the server's space."""
    embedding = any_client.embed(face)
    assert (embedding.values.dtype, embedding.values.shape) == (np.float32, (128,))
    assert np.linalg.norm(embedding.values) == pytest.approx(1, abs=1e-6)
    assert embedding.space == any_client.model_info().embedding_space


def test_list_models(any_client: Client) -> None:
    """The served models are listed, as they are described."""
    info = any_client.model_info()
    assert any_client.list_models() == [
        ModelSummary(
            name=info.name,
            is_default=True,
            model_version=info.model_version,
            embedding_space=info.embedding_space,
            embedding_size=info.embedding_size,
            precision=info.precision,
            weights_origin=info.weights_origin,
        )
    ]


def test_many_beyond_the_limit(any_client: Client, faces: list[Pixels]) -> None:
    """More faces than fit into one request are split, and answered in order."""
    outcomes = any_client.embed_many([RawFace(face, "BGR") for face in faces * 3])
    first = any_client.embed(RawFace(faces[0], "BGR"))
    assert len(outcomes) == 18
    for index in (0, 6, 12):
        np.testing.assert_array_equal(getattr(outcomes[index], "values", None), first.values)


def test_split_by_size(any_client: Client, faces: list[Pixels]) -> None:
    """Faces that together exceed the message limit are split by their bytes."""
    padded = encode(faces[0], ".jpg") + bytes(190_000)
    counts = [padded] * 24  # 24 files of 195 kB, at 1 MiB a message.
    assert {type(outcome) for outcome in any_client.embed_many(counts)} == {Embedding}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_bad_face_keeps_its_place(count: int, any_client: Client, face: RawFace) -> None:
    """A refused face is an error in the list, even if it is alone in its request."""
    outcomes = any_client.embed_many([face] * (count - 1) + [b"junk"])
    assert [type(outcome) for outcome in outcomes[:-1]] == [Embedding] * (count - 1)
    assert isinstance(outcomes[-1], InvalidRequestError)
    assert outcomes[-1].reason == "IMAGE_UNREADABLE"


def test_index_of_a_bad_face(any_client: Client, face: RawFace) -> None:
    """The error of a face names its place among all faces, not within its request."""
    (error,) = (
        o for o in any_client.embed_many([face] * 5 + [b"x", face]) if not hasattr(o, "norm")
    )
    assert error.field == "faces[5].encoded"
    assert error.message.startswith("faces[5].encoded: ")


@pytest.mark.parametrize("size", [300_000, 3_000_000, 80_000_000], ids=str)
def test_oversized_face(size: int, any_client: Client, face: RawFace) -> None:
    """A face beyond the server's limits is refused and costs no other face its embedding."""
    outcomes = any_client.embed_many([face, bytes(size), face])
    assert [type(o) for o in outcomes] == [Embedding, InvalidRequestError, Embedding]
    streamed = dict(any_client.embed_stream([("a", face), ("b", bytes(size)), ("c", face)]))
    assert [type(streamed[name]) for name in "abc"] == [Embedding, InvalidRequestError, Embedding]
    assert getattr(streamed["b"], "reason", "") == "IMAGE_TOO_LARGE"


def test_stream_of_an_exiting_caller(client: FaceEmbeddingClient, face: RawFace) -> None:
    """Even an exit in the caller's iterable comes out instead of hanging the stream."""

    def items() -> Iterator[tuple[str, Face]]:
        yield "a", face
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(client.embed_stream(items()))


def test_slow_consumer(server: RunningServer, face: RawFace) -> None:
    """Time that a caller takes between answers does not count against the server."""
    with FaceEmbeddingClient(server.address, timeout_s=0.3) as client:
        client.model_info()
        names = []
        for name, _ in client.embed_stream((str(n), face) for n in range(3)):
            names.append(name)
            wait_until(after(0.5))  # Longer than the deadline, with answers there.
    assert sorted(names) == ["0", "1", "2"]


def test_no_faces(any_client: Client) -> None:
    """No faces give no embeddings."""
    assert any_client.embed_many([]) == []
    assert list(any_client.embed_stream([])) == []


def test_stream(any_client: Client, face: RawFace) -> None:
    """A stream answers every item under its id."""
    items: list[tuple[str, Face]] = [(str(n), b"junk" if n == 7 else face) for n in range(50)]
    outcomes = dict(any_client.embed_stream(items))
    assert outcomes.keys() == {str(n) for n in range(50)}
    assert {name for name, o in outcomes.items() if isinstance(o, FaceEmbeddingError)} == {"7"}


def test_stream_of_a_failing_caller(any_client: Client, face: RawFace) -> None:
    """An exception of the caller's own iterable comes out of the stream."""

    def items() -> Iterator[tuple[str, Face]]:
        yield "a", face
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        list(any_client.embed_stream(items()))


def test_stream_from_asynchronous_items(server: RunningServer, face: RawFace) -> None:
    """The asyncio client takes its items asynchronously."""

    async def items() -> AsyncIterator[tuple[str, Face]]:
        for number in range(5):
            await asyncio.sleep(0)
            yield str(number), face

    outcomes = Blocking(server.address).embed_stream(items())
    assert {name for name, _ in outcomes} == {"0", "1", "2", "3", "4"}


def test_abandoned_stream(client: FaceEmbeddingClient, face: RawFace) -> None:
    """A caller may leave a stream in the middle; the next call works."""
    for _ in client.embed_stream((str(n), face) for n in range(1000)):
        break
    assert client.is_serving()


def test_compare(any_client: Client, face: RawFace, faces: list[Pixels]) -> None:
    """Images and embeddings can be compared, with and without a threshold."""
    other = encode(faces[1])
    assert any_client.compare(face, other).match is None
    assert any_client.compare(face, any_client.embed(face), threshold=0.99).match is True
    assert any_client.compare(face, other, threshold=0.999).match is False


def test_health(any_client: Client) -> None:
    """A loaded server is serving."""
    assert any_client.is_serving() is True


def test_refused_face(any_client: Client) -> None:
    """A refused face raises with reason, field, code and message."""
    with pytest.raises(
        InvalidRequestError, match="is not a JPEG, PNG, WebP, AVIF or HEIC file"
    ) as caught:
        any_client.embed(b"junk")
    error = caught.value
    assert (error.reason, error.field) == ("IMAGE_UNREADABLE", "faces[0].encoded")
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_model(kind: type[Client], server: RunningServer, face: RawFace) -> None:
    """A model that is not served raises its own error."""
    with pytest.raises(UnknownModelError, match="not 'x'"):
        kind(server.address, model="x").embed(face)
    assert kind(server.address, model=MOBILE).embed(face).norm > 0


def test_no_server(kind: type[Client], face: RawFace) -> None:
    """Where nothing listens, the error names the address, for calls and streams."""
    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1"):
        kind("127.0.0.1:1", timeout_s=10).embed(face)
    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1"):
        list(kind("127.0.0.1:1", timeout_s=10).embed_stream([("a", face)]))


def test_deadline(kind: type[Client], silent_address: str) -> None:
    """A server that never answers is given up at the deadline."""
    with pytest.raises(DeadlineExceededError, match=silent_address):
        kind(silent_address, timeout_s=0.2).compare(b"a", b"b")


def test_deadline_of_a_stream(kind: type[Client], silent_address: str, face: RawFace) -> None:
    """So is a stream whose next answer never comes."""
    with pytest.raises(DeadlineExceededError, match=r"no answer in the stream for 0.2 s"):
        list(kind(silent_address, timeout_s=0.2).embed_stream([("a", face)]))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ("face.png", TypeError, "bytes, a RawFace or a Photograph, not str"),
        (RawFace([[1]], "RGB"), TypeError, "pixels are a NumPy array, not list"),  # type: ignore[arg-type]
        (RawFace(np.zeros((112, 112, 3)), "RGB"), TypeError, "uint8, 0 to 255, not float64"),  # type: ignore[arg-type]
        (RawFace(np.zeros((112, 112), np.uint8), "RGB"), ValueError, r"not \[112, 112\]"),
        (RawFace(np.zeros((9, 9, 3), np.uint8), "GRB"), ValueError, "'RGB' or 'BGR', not 'GRB'"),  # type: ignore[arg-type]
    ],
    ids=["path", "list", "floats", "grey", "order"],
)
def test_caller_mistakes(
    bad: Any, error: type[Exception], message: str, any_client: Client
) -> None:
    """What cannot be a face is refused before anything is sent."""
    with pytest.raises(error, match=message):
        any_client.embed(bad)


def test_id_of_another_type(any_client: Client, face: RawFace) -> None:
    """An id that is no text is refused."""
    with pytest.raises(TypeError, match="an id is a str, not int"):
        list(any_client.embed_stream([(1, face)]))  # type: ignore[list-item]


def test_slow_caller_is_no_slow_server(server: RunningServer, face: RawFace) -> None:
    """Time that a stream's caller takes for its items does not count against the server."""
    answered = threading.Event()

    def items() -> Iterator[tuple[str, Face]]:
        yield "a", face
        answered.wait()
        wait_until(after(0.5))  # Longer than the deadline, with nothing asked.
        yield "b", face

    with FaceEmbeddingClient(server.address, timeout_s=0.4) as client:
        client.model_info()
        names = []
        for name, _ in client.embed_stream(items()):
            names.append(name)
            answered.set()
    assert names == ["a", "b"]
