"""What clients do about an overloaded server: wait as long as it asks, and not too often."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from statuses import status_of, status_trailer
from twins import Client

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    Embedding,
    FaceEmbeddingClient,
    InvalidRequestError,
    OverloadedError,
    ServerUnavailableError,
)

STORED = Embedding(np.ones(4, np.float32), 1, "space")
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
# Repetitions of one client before it has to earn more, as documented.
BUDGET = 10


@dataclass
class Overloaded(pb_grpc.FaceEmbeddingServiceServicer):
    """A server that refuses its first calls, or faces, as too many."""

    refusals: int = 0
    again_s: float = 0.01
    trailers: tuple[tuple[str, str | bytes], ...] = ()
    asked_at: list[float] = field(default_factory=list)
    address: str = ""

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        limits = pb.Limits(
            max_encoded_bytes=1 << 20, max_message_bytes=1 << 20, max_faces_per_request=8
        )
        return pb.GetModelInfoResponse(limits=limits)

    def Compare(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        if self.refuses():
            context.set_trailing_metadata(self.trailers)
            context.abort(EXHAUSTED, "no")
        return pb.CompareResponse(cosine_similarity=0.5)

    def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        results = [self.result() for _ in request.faces]
        if len(results) == 1 and results[0].HasField("error"):
            context.set_trailing_metadata([status_trailer(EXHAUSTED, "OVERLOADED", self.again_s)])
            context.abort(EXHAUSTED, "no")
        return pb.EmbedResponse(results=results)

    def EmbedStream(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802  # gRPC's name
        for request in request_iterator:
            yield pb.EmbedStreamResponse(id=request.id, result=self.result())

    def result(self) -> pb.EmbedResult:
        if self.refuses():
            return pb.EmbedResult(error=status_of(EXHAUSTED, "OVERLOADED", self.again_s))
        return pb.EmbedResult(embedding=pb.Embedding(values=[1]))

    def refuses(self) -> bool:
        self.asked_at.append(time.monotonic())
        return len(self.asked_at) <= self.refusals


@pytest.fixture
def overloaded() -> Iterator[Callable[..., Overloaded]]:
    """Makes overloaded servers."""
    with ExitStack() as stack:

        def make(**options: Any) -> Overloaded:
            servicer = Overloaded(**options)
            server = grpc.server(futures.ThreadPoolExecutor(4))
            pb_grpc.add_FaceEmbeddingServiceServicer_to_server(servicer, server)
            servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            return servicer

        yield make


def by_retry_info(again_s: float) -> tuple[tuple[str, str | bytes], ...]:
    return (status_trailer(EXHAUSTED, "OVERLOADED", again_s),)


def by_pushback(again_s: float) -> tuple[tuple[str, str | bytes], ...]:
    pushback = ("grpc-retry-pushback-ms", str(round(1000 * again_s)))
    return (status_trailer(EXHAUSTED, "OVERLOADED"), pushback)


@pytest.mark.parametrize("trailers", [by_retry_info, by_pushback])
def test_pushback(trailers: Any, kind: type[Client], overloaded: Any) -> None:
    """A call is repeated after the wait that the server asks for, more often than `retries`."""
    server = overloaded(refusals=4, trailers=trailers(0.15))
    assert kind(server.address, retries=1).compare(b"a", STORED).cosine_similarity == 0.5
    waits = np.diff(server.asked_at)
    assert len(waits) == 4
    assert min(waits) >= 0.15


def test_budget(kind: type[Client], overloaded: Any) -> None:
    """A server that stays overloaded is asked again until the budget is spent."""
    server = overloaded(refusals=99, trailers=by_retry_info(0.01))
    with pytest.raises(OverloadedError) as caught:
        kind(server.address).compare(b"a", STORED)
    assert len(server.asked_at) == 1 + BUDGET
    error = caught.value
    assert (error.reason, error.code, error.retry_after_s) == ("OVERLOADED", EXHAUSTED, 0.01)
    assert isinstance(error, ServerUnavailableError)


def test_empty_budget(overloaded: Any) -> None:
    """Once it is spent, each ten answers earn one repetition."""
    server = overloaded(refusals=1 + BUDGET, trailers=by_retry_info(0.001))
    with FaceEmbeddingClient(server.address) as client:
        with pytest.raises(OverloadedError):
            client.compare(b"a", STORED)
        for _ in range(11):
            client.compare(b"a", STORED)
        server.refusals = 99
        server.asked_at.clear()
        for _ in range(5):
            with pytest.raises(OverloadedError):
                client.compare(b"a", STORED)
    assert len(server.asked_at) == 5 + 1


def test_beyond_the_deadline(kind: type[Client], overloaded: Any) -> None:
    """What would be repeated after the deadline fails at once."""
    server = overloaded(refusals=99, trailers=by_retry_info(60))
    start = time.monotonic()
    with pytest.raises(OverloadedError):
        kind(server.address, timeout_s=5).compare(b"a", STORED)
    assert time.monotonic() - start < 5
    assert len(server.asked_at) == 1


def test_without_retries(kind: type[Client], overloaded: Any) -> None:
    """Without retries the error comes out at once."""
    server = overloaded(refusals=99, trailers=by_retry_info(0.01))
    with pytest.raises(OverloadedError):
        kind(server.address, retries=0).compare(b"a", STORED)
    assert len(server.asked_at) == 1


@pytest.mark.parametrize("pushback", ["-1", "soon"])
def test_forbidden(pushback: str, kind: type[Client], overloaded: Any) -> None:
    """A pushback that is no number of milliseconds forbids to repeat, as gRPC has it."""
    trailers = (*by_retry_info(0.01), ("grpc-retry-pushback-ms", pushback))
    server = overloaded(refusals=99, trailers=trailers)
    with pytest.raises(OverloadedError):
        kind(server.address).compare(b"a", STORED)
    assert len(server.asked_at) == 1


def test_message_too_large(kind: type[Client], overloaded: Any) -> None:
    """Without the reason the code says that a message is too large, and nothing is repeated."""
    server = overloaded(refusals=99)
    with pytest.raises(InvalidRequestError):
        kind(server.address).compare(b"a", STORED)
    assert len(server.asked_at) == 1


def test_faces_of_a_batch(kind: type[Client], overloaded: Any) -> None:
    """Faces of a batch that were too many are sent again, each alone."""
    server = overloaded(refusals=3)
    outcomes = kind(server.address).embed_many([b"a"] * 6)
    assert [type(outcome) for outcome in outcomes] == [Embedding] * 6
    assert len(server.asked_at) == 6 + 3


def test_faces_that_stay_too_many(kind: type[Client], overloaded: Any) -> None:
    """One that is refused until the budget is spent has the error as its outcome."""
    server = overloaded(refusals=1000)
    outcomes = kind(server.address).embed_many([b"a"] * 2)
    assert [type(outcome) for outcome in outcomes] == [OverloadedError] * 2
    assert len(server.asked_at) == 2 + BUDGET


def test_items_of_a_stream(kind: type[Client], overloaded: Any) -> None:
    """Items of a stream that were too many are sent again, and answered once."""
    server = overloaded(refusals=5)
    answers = list(kind(server.address).embed_stream((str(n), b"a") for n in range(50)))
    assert [type(outcome) for _, outcome in answers] == [Embedding] * 50
    assert {name for name, _ in answers} == {str(n) for n in range(50)}


def test_items_that_stay_too_many(kind: type[Client], overloaded: Any) -> None:
    """One that is refused until the budget is spent has the error as its outcome."""
    server = overloaded(refusals=1000)
    answers = dict(kind(server.address).embed_stream((str(n), b"a") for n in range(50)))
    assert {type(outcome) for outcome in answers.values()} == {OverloadedError}
    assert (len(answers), len(server.asked_at)) == (50, 50 + BUDGET)
