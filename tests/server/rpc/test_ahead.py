"""Messages that are read before their call has a thread."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from face_embedding_models.store import Store
from face_embedding_server.rpc.handlers import Handlers
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.rpc.shares import Share
from support import running_server, small_settings, wait_until

TIMEOUT_S = 60
AHEAD = 2


@dataclass
class Echo:
    """A server with one thread, which returns each message once it is let go."""

    pool: Handlers
    taken: list[bytes] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, data: Iterator[bytes], call: grpc.ServicerContext) -> bytes:
        message = self.pool.receive(data, call)
        self.taken.append(message)
        self.over.wait(TIMEOUT_S)
        return message


# Begins a call, given its messages, and returns a future of the answer.
Call = Callable[[Iterator[bytes]], Any]


def echoing(*, is_known: bool) -> Iterator[tuple[Echo, Call]]:
    pool = Handlers(1, 4, 32, Patience(TIMEOUT_S), lambda _: Share("all", is_known), AHEAD)
    echo = Echo(pool)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "echo", {"Echo": grpc.stream_unary_rpc_method_handler(echo)}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_unary("/echo/Echo")
        yield echo, method.future
        echo.over.set()
    assert server.stop(0).wait(TIMEOUT_S)
    pool.close()


@pytest.fixture
def known() -> Iterator[tuple[Echo, Call]]:
    """Everyone is known."""
    yield from echoing(is_known=True)


@pytest.fixture
def unknown() -> Iterator[tuple[Echo, Call]]:
    """Nobody is known."""
    yield from echoing(is_known=False)


def test_ahead(known: tuple[Echo, Call]) -> None:
    """As many calls as may have their message read while others have the threads."""
    echo, call = known
    calls = [call(iter([b"0"]))]
    wait_until(lambda: echo.taken == [b"0"])
    calls += [call(iter([b"%d" % number])) for number in range(1, 5)]
    wait_until(lambda: echo.pool._ahead == AHEAD and len(echo.pool._waiting) == 4)
    echo.over.set()
    assert [each.result(TIMEOUT_S) for each in calls] == [b"0", b"1", b"2", b"3", b"4"]
    assert echo.pool._ahead == 0


def test_unknown_caller(unknown: tuple[Echo, Call]) -> None:
    """Nothing is read of a caller who is not let in yet."""
    echo, call = unknown
    calls = [call(iter([b"0"]))]
    # Only then does it keep its thread; while it waits for its message others may have theirs.
    wait_until(lambda: echo.taken == [b"0"])
    calls += [call(iter([b"%d" % number])) for number in range(1, 3)]
    wait_until(lambda: len(echo.pool._waiting) == 2)
    assert echo.pool._ahead == 0
    echo.over.set()
    assert [each.result(TIMEOUT_S) for each in calls] == [b"0", b"1", b"2"]


def test_message_comes_late(known: tuple[Echo, Call]) -> None:
    """A message that is not there when its call has a thread is waited for."""
    echo, call = known
    sent = threading.Event()

    def later() -> Iterator[bytes]:
        sent.wait(TIMEOUT_S)
        yield b"late"

    first = call(later())
    wait_until(lambda: echo.pool._aside == 1)
    sent.set()
    echo.over.set()
    assert first.result(TIMEOUT_S) == b"late"


def test_cancelled(known: tuple[Echo, Call]) -> None:
    """A call that is cancelled before its message has come gives its thread back."""
    echo, call = known
    over = threading.Event()

    def never() -> Iterator[bytes]:
        over.wait(TIMEOUT_S)
        yield from ()

    silent = call(never())
    wait_until(lambda: echo.pool._aside == 1)
    silent.cancel()
    wait_until(lambda: echo.pool._callers == {})
    over.set()
    assert echo.taken == []


def test_no_message(known: tuple[Echo, Call]) -> None:
    """A call without a message ends."""
    echo, call = known
    assert isinstance(call(iter(())).exception(TIMEOUT_S), grpc.RpcError)
    assert echo.taken == []


@pytest.mark.parametrize("pool", ["streams", "open"])
def test_only_where_one_is_taken(store: Store, pool: str) -> None:
    """Streams, and calls that anyone may make, are read by their threads alone."""
    with running_server(small_settings(store)) as running:
        assert getattr(running.server._pools, pool)._most_ahead == 0
        assert running.server._pools.unary._most_ahead > 0
