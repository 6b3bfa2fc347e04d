"""How the clients make calls: retries, tokens, and the errors of a call."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from statuses import status_trailer
from twins import Client

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    Embedding,
    FaceEmbeddingClient,
    NotPermittedError,
    RawFace,
    ServerError,
    ServerUnavailableError,
    Tls,
    _channel,
)
from support import RunningServer, http2
from support.http2 import Frame

FACE = RawFace(np.zeros((112, 112, 3), np.uint8), "BGR")
STORED = Embedding(np.ones(4, np.float32), 1, "space")


STOPPING = status_trailer(grpc.StatusCode.UNAVAILABLE, "STOPPING")


@dataclass
class Flaky(pb_grpc.FaceEmbeddingServiceServicer, grpc.ServerInterceptor):
    """A server that fails its first calls, and notes the metadata of all."""

    failures: int = 0
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    trailers: tuple[tuple[str, str | bytes], ...] = ()
    answers_before_failure: int = 0
    attempts: int = 0
    metadata: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    address: str = ""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        known = self.metadata.setdefault(details.method.rpartition("/")[2], [])
        known.append(dict(details.invocation_metadata))
        return continuation(details)

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        limits = pb.Limits(max_encoded_bytes=1 << 22, max_message_bytes=1 << 23)
        return pb.GetModelInfoResponse(limits=limits)

    def Compare(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.fail(context)
        return pb.CompareResponse(cosine_similarity=0.5)

    def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.fail(context)
        results = [pb.EmbedResult(embedding=pb.Embedding(values=[1])) for _ in request.faces]
        return pb.EmbedResponse(results=results)

    def EmbedStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        for number, request in enumerate(request_iterator):
            if number == self.answers_before_failure:
                self.fail(context)
            result = pb.EmbedResult(embedding=pb.Embedding(values=[1]))
            yield pb.EmbedStreamResponse(id=request.id, result=result)

    def fail(self, context: Any) -> None:
        self.attempts += 1
        if self.attempts <= self.failures:
            context.set_trailing_metadata(self.trailers)
            context.abort(self.code, "no")


@pytest.fixture
def flaky() -> Iterator[Callable[..., Flaky]]:
    """Makes servers that fail."""
    with ExitStack() as stack:

        def make(**options: Any) -> Flaky:
            servicer = Flaky(**options)
            server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[servicer])
            pb_grpc.add_FaceEmbeddingServiceServicer_to_server(servicer, server)
            healthy = health.HealthServicer()
            healthy.set("", health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
            servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            return servicer

        yield make


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "large"])
def test_retry(size: int, kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """A call that is not taken is repeated, three times, however large it is."""
    server = flaky(failures=3, trailers=(STOPPING,))
    comparison = kind(server.address).compare(bytes(size), STORED)
    assert (comparison.cosine_similarity, server.attempts) == (0.5, 4)


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (3, 4), (4, 5)])
def test_retries(
    retries: int, attempts: int, kind: type[Client], flaky: Callable[..., Flaky]
) -> None:
    """After as many repetitions as were asked for the error comes out."""
    server = flaky(failures=99, trailers=(STOPPING,))
    with pytest.raises(ServerUnavailableError, match="no") as caught:
        kind(server.address, retries=retries).compare(b"a", STORED)
    assert (server.attempts, caught.value.reason) == (attempts, "STOPPING")


def test_other_errors_are_final(kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """Another error than UNAVAILABLE is not repeated."""
    server = flaky(failures=99, code=grpc.StatusCode.INTERNAL)
    with pytest.raises(ServerError):
        kind(server.address).compare(b"a", STORED)
    assert server.attempts == 1


def test_retry_within_the_deadline(kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """What would be repeated after the deadline is not waited for."""
    server = flaky(failures=99, trailers=(STOPPING, ("grpc-retry-pushback-ms", "60000")))
    start = time.monotonic()
    with pytest.raises(ServerUnavailableError) as caught:
        kind(server.address, timeout_s=5).compare(b"a", STORED)
    assert time.monotonic() - start < 5
    assert (server.attempts, caught.value.retry_after_s) == (1, 60)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "STOPPING"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "CALLER_SILENT"),
    ],
    ids=["stopping", "silent"],
)
@pytest.mark.parametrize("answers_before_failure", [0, 1])
def test_retried_stream(
    answers_before_failure: int,
    code: grpc.StatusCode,
    reason: str,
    kind: type[Client],
    flaky: Callable[..., Flaky],
) -> None:
    """A stream is repeated whenever it ends; items are taken once and answered once."""
    server = flaky(
        failures=2,
        code=code,
        trailers=(status_trailer(code, reason),),
        answers_before_failure=answers_before_failure,
    )
    taken = []

    def items() -> Iterator[tuple[str, RawFace]]:
        for name in "abcde":
            taken.append(name)
            yield name, FACE

    names = [name for name, _ in kind(server.address).embed_stream(items())]
    assert (names, taken) == (list("abcde"), list("abcde"))


def test_retries_of_a_stream(kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """A stream that brings no answer is given up in the end."""
    server = flaky(failures=99, trailers=(STOPPING,))
    with pytest.raises(ServerUnavailableError):
        list(kind(server.address, retries=2).embed_stream([("a", FACE), ("b", FACE)]))
    # The asyncio client may ask for an item by a call of its own, which is given up like any other.
    assert 3 <= server.attempts <= 6


@pytest.fixture
def frozen() -> Iterator[str]:
    """The address of a server that takes calls, and then is gone without a word."""

    def take() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            connection.sendall(Frame(http2.SETTINGS).encode())
            file.read(len(http2.PREFACE))
            for frame in http2.read_frames(file):
                if frame.kind == http2.SETTINGS and frame.flags != http2.ACK:
                    connection.sendall(Frame(http2.SETTINGS, http2.ACK).encode())

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        futures.ThreadPoolExecutor(1) as thread,
    ):
        thread.submit(take)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
def test_frozen_server(kind: type[Client], frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call does not wait for its deadline if its server does not answer pings any more."""
    monkeypatch.setattr(_channel, "_KEEPALIVE_S", 1)
    monkeypatch.setattr(_channel, "_KEEPALIVE_TIMEOUT_S", 1)
    began = time.monotonic()
    with pytest.raises(ServerUnavailableError):
        kind(frozen, timeout_s=60, retries=0).model_info()
    assert time.monotonic() - began < 30


def test_token_on_every_call(kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """The token goes with every call: unary, stream and health."""
    server = flaky()
    client = kind(server.address, token="s3cret", allow_plaintext_token=True)  # noqa: S106
    client.compare(b"a", STORED)
    list(client.embed_stream([("a", FACE)]))
    assert client.is_serving()
    assert server.metadata.keys() == {"GetModelInfo", "Compare", "EmbedStream", "Check"}
    sent = {call["authorization"] for calls in server.metadata.values() for call in calls}
    assert sent == {"Bearer s3cret"}


def test_no_token(kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """Without a token there is no such metadata."""
    server = flaky()
    kind(server.address).compare(b"a", STORED)
    assert "authorization" not in server.metadata["Compare"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": "a"}, "without TLS a token can be read"),
        ({"token": "a b", "tls": Tls()}, "visible ASCII"),
        ({"token": "a\n", "tls": Tls()}, "visible ASCII"),
        ({"token": "é", "tls": Tls()}, "visible ASCII"),
        ({"retries": 5}, "retries are 0 to 4, not 5"),
        ({"retries": -1}, "retries are 0 to 4, not -1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Options that make no sense are refused at once, and the token is not in the message."""
    with pytest.raises(ValueError, match=message):
        FaceEmbeddingClient("127.0.0.1:1", **options)


def pem(kind: str) -> bytes:
    """The beginning of a PEM file, which is all that is looked at before it is used."""
    return f"-----BEGIN {kind}".encode()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"certificate": pem("CERTIFICATE")}, "given together"),
        ({"key": pem("PRIVATE KEY")}, "given together"),
        ({"ca": b""}, "the ca is no PEM"),
        ({"certificate": b"junk", "key": b"junk"}, "the certificate is no PEM"),
    ],
    ids=["certificate alone", "key alone", "empty", "junk"],
)
def test_bad_tls(options: dict[str, bytes], message: str) -> None:
    """A certificate without its key, and what is no PEM, are refused."""
    with pytest.raises(ValueError, match=message):
        Tls(**options)


def test_key_is_not_shown() -> None:
    """The private key is not in the representation, which logs hold."""
    tls = Tls(certificate=pem("CERTIFICATE"), key=pem("PRIVATE KEY"))
    assert "PRIVATE" not in repr(tls)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED], ids=str
)
def test_not_permitted(
    code: grpc.StatusCode, kind: type[Client], flaky: Callable[..., Flaky]
) -> None:
    """A caller who is not known, or may not do this, gets an error of its own."""
    server = flaky(failures=1, code=code)
    with pytest.raises(NotPermittedError) as caught:
        kind(server.address).compare(b"a", STORED)
    assert caught.value.code is code


def test_request_id(kind: type[Client], flaky: Callable[..., Flaky]) -> None:
    """An error names the request for the server's operator."""
    options = {"code": grpc.StatusCode.INTERNAL, "trailers": (("x-request-id", "4f1c"),)}
    with pytest.raises(ServerError) as caught:
        kind(flaky(failures=1, **options).address).compare(b"a", STORED)
    assert caught.value.request_id == "4f1c"
    with pytest.raises(ServerUnavailableError) as caught:
        kind("127.0.0.1:1").compare(b"a", STORED)
    assert caught.value.request_id == ""


def test_request_id_of_a_command(run: Any, flaky: Callable[..., Flaky], tmp_path: Any) -> None:
    """The command prints it with the error."""
    face = tmp_path / "a.png"
    face.write_bytes(b"a")
    options = {"code": grpc.StatusCode.INTERNAL, "trailers": (("x-request-id", "4f1c"),)}
    address = flaky(failures=1, **options).address
    status, _, err = run("compare", str(face), str(face), address=address)
    assert status == 2
    assert err.endswith("no (request 4f1c)\n")


def test_model_version(server: RunningServer, kind: type[Client], faces: list[Any]) -> None:
    """Embeddings, of a call or a stream, and comparisons name the version of the model."""
    client = kind(server.address)
    face = RawFace(faces[0], "BGR")
    version = client.model_info().model_version
    ((_, streamed),) = client.embed_stream([("a", face)])
    made = [client.embed(face), streamed, client.compare(face, face)]
    assert version == client.model_info().weights_sha256[:16]
    assert {each.model_version for each in made} == {version}


def test_precision(server: RunningServer, kind: type[Client], faces: list[Any]) -> None:
    """Embeddings, of a call or a stream, name the precision that they were made at."""
    client = kind(server.address)
    face = RawFace(faces[0], "BGR")
    ((_, streamed),) = client.embed_stream([("a", face)])
    assert client.model_info().precision == "f32"
    assert [each.precision for each in (client.embed(face), streamed)] == ["f32", "f32"]
