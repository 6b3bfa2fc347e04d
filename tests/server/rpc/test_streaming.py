"""The flow of a stream alone: how much is in flight, and when it ends."""

import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

import pytest

from face_embedding_server.rpc import streaming
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.rpc.streaming import Stream
from support import wait_until

TIMEOUT_S = 60


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.mark.parametrize(("first", "second"), [(1, 1), (50, 50)], ids=["small", "just fit"])
def test_room(first: int, second: int) -> None:
    """Items are taken as long as their bytes fit."""
    stream: Stream[str] = Stream(2, 100)
    assert stream.take(first)
    assert stream.take(second)


@pytest.mark.parametrize(
    ("items", "first", "second"),
    [(1, 1, 1), (9, 50, 51), (9, 101, 1)],
    ids=["items", "bytes", "large"],
)
def test_no_room(items: int, first: int, second: int, threads: ThreadPoolExecutor) -> None:
    """An item that does not fit is taken once the answer before it was sent; one alone fits."""
    stream: Stream[str] = Stream(items, 100)
    assert stream.take(first)
    taken = threads.submit(stream.take, second)
    answers = iter(stream)
    stream.done("first", first)
    assert next(answers) == ("first", first)
    with pytest.raises(futures.TimeoutError):
        taken.result(0.1)
    # To ask for the next answer tells that this one was sent.
    last = threads.submit(next, answers)
    assert taken.result(TIMEOUT_S)
    stream.done("last", second)
    assert last.result(TIMEOUT_S) == ("last", second)


def test_end() -> None:
    """A stream that ends takes no more, and gives the answers to what it has taken."""
    stream: Stream[str] = Stream(2, 100)
    for answer in "ab":
        assert stream.take(1)
        stream.done(answer, 1)
    stream.end()
    assert not stream.take(1)
    assert list(stream) == [("a", 1), ("b", 1)]


def test_end_while_full(threads: ThreadPoolExecutor) -> None:
    """Who waits for room when a stream ends is told that it takes no more."""
    stream: Stream[str] = Stream(1, 100)
    assert stream.take(1)
    began = threading.Event()

    def take() -> bool:
        began.set()
        return stream.take(1)

    waiting = threads.submit(take)
    began.wait()
    stream.end()
    assert not waiting.result(TIMEOUT_S)


class Context:
    """What a call is of gRPC's, as far as a stream asks."""

    def add_callback(self, _: object) -> bool:
        return True

    def abort(self, code: object, details: str) -> None:
        raise AssertionError(details)

    def cancel(self) -> None:
        raise AssertionError("nobody was too slow")


def test_stopped_when_complete(threads: ThreadPoolExecutor) -> None:
    """A stream whose items are all there ends well, though the server was asked to stop."""
    admission = Admission(100, Patience(TIMEOUT_S), TIMEOUT_S)
    stream: Stream[str] = Stream(2, 100)
    answers = streaming.answers(
        iter([b"a"]),
        Context(),  # type: ignore[arg-type]  # No call of gRPC.
        admission,
        stream,
        lambda _: None,
    )

    def answer() -> list[str]:
        with admission.admitted(0):
            return list(answers)

    answered = threads.submit(answer)
    wait_until(lambda: stream._ended)
    admission.refuse()
    assert not admission.finish(0)
    stream.done("a", 1)
    assert answered.result(TIMEOUT_S) == ["a"]


def test_abandon() -> None:
    """A stream that nobody wants any more gives no answers, also while some are owed."""
    stream: Stream[str] = Stream(2, 100)
    assert stream.take(1)
    stream.abandon()
    assert list(stream) == []
