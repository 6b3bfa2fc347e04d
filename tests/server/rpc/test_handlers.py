"""More calls than can be answered in time: what is refused, how, and that the others go on."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.rpc import handlers
from face_embedding_server.rpc.handlers import Handlers
from face_embedding_server.rpc.patience import Patience
from support import after, info_of, running_server, small_settings, status_of, wait_until

TIMEOUT_S = 60
FOR_EVER = float("inf")


@dataclass
class Event:
    """What gRPC knows of a call when it hands it over."""

    connection: bytes
    deadline: float = FOR_EVER

    @property
    def call(self) -> "Event":
        return self

    @property
    def call_details(self) -> "Event":
        return self

    def peer(self) -> bytes:
        return self.connection


@dataclass
class Calls:
    """Calls that stay in work until they are let go, and who has begun or was refused."""

    handlers: Handlers
    begun: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def send(
        self, name: str, deadline: float = FOR_EVER, work: Callable[[], None] | None = None
    ) -> None:
        """Hand over a call as gRPC does; its connection is the first letter of its name."""

        def in_pool(_: Event) -> None:
            if handlers.come_again_s():
                self.refused.append(name)
                return
            self.begun.append(name)
            (work or self.over.wait)()

        event = Event(name[0].encode(), deadline)
        self.handlers.submit(copy_context().run, in_pool, event)


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls(Handlers(size=4, aside=4, waiting=4, patience=Patience(TIMEOUT_S)))
    yield made
    made.over.set()
    made.handlers.close()


def test_share_of_threads(calls: Calls) -> None:
    """One connection has at most as many threads as it leaves free, and another one has some."""
    for number in range(4):
        calls.send(f"a{number}")
    wait_until(lambda: len(calls.begun) == 2)
    calls.send("b0")
    wait_until(lambda: calls.begun[2:] == ["b0"])


def test_share_of_the_queue(calls: Calls) -> None:
    """One connection has at most half of the places to wait, and what is more is refused."""
    for number in range(2):
        calls.send(f"a{number}")
    wait_until(lambda: len(calls.begun) == 2)
    for number in range(2, 6):
        calls.send(f"a{number}")
    assert calls.refused == ["a4", "a5"]
    calls.send("b0")
    assert calls.refused == ["a4", "a5"]


def test_late(calls: Calls) -> None:
    """A call whose deadline has passed when it is its turn is refused."""
    for number in range(2):
        calls.send(f"a{number}")
    wait_until(lambda: len(calls.begun) == 2)
    calls.send("a2", deadline=0.0)
    calls.over.set()
    wait_until(lambda: calls.refused == ["a2"])


def test_aside(calls: Calls) -> None:
    """Calls that only wait keep no thread from others of their connection."""

    def wait() -> None:
        with calls.handlers.aside():
            calls.over.wait()

    for number in range(2):
        calls.send(f"a{number}", work=wait)
    wait_until(lambda: len(calls.begun) == 2)
    for number in range(2, 4):
        calls.send(f"a{number}")
    wait_until(lambda: len(calls.begun) == 4)


def test_room_for_one_more_caller() -> None:
    """Callers who are waited for, and leave each other no room aside, make room for another."""
    calls = Calls(Handlers(size=4, aside=5, waiting=8, patience=Patience(TIMEOUT_S)))

    def wait() -> None:
        cut_off = threading.Event()
        with calls.handlers.aside(), calls.handlers.patience.waiting(cut_off.set):
            cut_off.wait()

    for count, name in enumerate(("a0", "b0", "c0", "d0", "a1", "b1", "c1", "d1"), 1):
        calls.send(name, work=wait)
        wait_until(lambda count=count: len(calls.begun) == count)
    calls.send("e0")
    wait_until(lambda: calls.begun[-1] == "e0")
    calls.over.set()
    calls.handlers.close()


def test_aside_in_another_thread(calls: Calls) -> None:
    """What a call has done by a thread of its own may wait too."""
    with calls.handlers.aside():
        calls.send("a0")
        wait_until(lambda: calls.begun == ["a0"])


def test_survives(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    """A call that raises what nobody catches takes no thread from those after it."""

    def leave() -> None:
        raise SystemExit

    for number in range(8):
        calls.send(f"a{number}", work=leave)
        wait_until(lambda number=number: len(calls.begun) == number + 1)
    wait_until(lambda: calls.handlers._callers == {})
    assert len(caplog.records) == 8


def test_no_trace(calls: Calls) -> None:
    """Nothing is kept of a connection whose calls have ended."""
    calls.over.set()
    for number in range(2):
        calls.send(f"a{number}")
    wait_until(lambda: len(calls.begun) == 2)
    wait_until(lambda: calls.handlers._callers == {})


def test_no_trace_of_a_refusal(calls: Calls) -> None:
    """Nothing is kept of a connection of which no call was ever taken."""
    calls.handlers._most_waiting = 0
    calls.send("a0")
    assert calls.refused == ["a0"]
    assert calls.handlers._callers == {}


def test_told(calls: Calls) -> None:
    """GRPC is told nothing by what it gets back, and waits for nothing."""
    done: Future[Any] = calls.handlers.submit(copy_context().run, lambda _: None, Event(b"a"))
    assert done.done()


def test_patience() -> None:
    """Who is waited for too long is cut off, and not before."""
    cut_off = threading.Event()
    patience = Patience(0.5)
    with patience.waiting(cut_off.set):
        early = after(0.4)
        while not early():
            assert not cut_off.is_set()
        assert cut_off.wait(TIMEOUT_S)
    patience.close()


def test_room_is_made_by_the_first() -> None:
    """If a thread is needed, who has been waited for the longest makes room, and nobody else."""
    ended: list[str] = []
    patience = Patience(TIMEOUT_S)
    with (
        patience.waiting(lambda: ended.append("first") or True),
        patience.waiting(lambda: ended.append("second") or True),
    ):
        wait_until(after(0.2))
        patience.make_room()
    patience.close()
    assert ended == ["first"]


def test_refusal(store: Store) -> None:
    """A refused call is told why, when to come again, and by which id it is known."""
    with (
        running_server(small_settings(store)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        pool = running.server._pools.unary
        pool._most_waiting = 0
        with pytest.raises(grpc.RpcError) as caught:
            pb_grpc.FaceEmbeddingServiceStub(channel).GetModelInfo(
                pb.GetModelInfoRequest(), timeout=TIMEOUT_S, metadata=(("x-request-id", "mine"),)
            )
    error = caught.value
    trailers = dict(error.trailing_metadata())
    status = status_of(error)
    again = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(again)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info_of(status).reason == "OVERLOADED"
    assert again.retry_delay.ToMilliseconds() == 50
    assert trailers["grpc-retry-pushback-ms"] == "50"
    assert trailers["x-request-id"] == "mine"


def test_asked_while_it_is_made() -> None:
    """What a pool lacks may be asked as soon as it says how, in another thread."""
    asked = []

    class Eager(Patience):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "lacking" and callable(value):
                asked.append(value())

    patience = Eager(TIMEOUT_S)
    Handlers(1, 1, 1, patience).close()
    assert set(asked) == {0}
