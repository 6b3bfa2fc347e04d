"""The health service alone, against callers who do not behave."""

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding_server.rpc.health import NAME, NOT_SERVING, SERVING, Health
from support import http2
from support.http2 import Frame

TIMEOUT_S = 20
PATIENCE_S = 1
INITIAL_WINDOW_SIZE = 4
RESET = 3


@dataclass(frozen=True)
class Running:
    """A server with nothing but health, and its port."""

    health: Health
    port: int

    def channel(self) -> grpc.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", options)


@pytest.fixture
def running() -> Iterator[Running]:
    health = Health(["a.Service"], PATIENCE_S)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((health.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Running(health, port)
    server.stop(0).wait()


def check(running: Running, service: str = "") -> int:
    with running.channel() as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S).status


@pytest.mark.parametrize("service", ["", "a.Service"])
def test_check(service: str, running: Running) -> None:
    """It is NOT_SERVING until it is told otherwise."""
    assert check(running, service) == NOT_SERVING
    running.health.set(SERVING)
    assert check(running, service) == SERVING


def test_unknown_service(running: Running) -> None:
    """A service that it does not know is not found."""
    with pytest.raises(grpc.RpcError) as raised:
        check(running, "another.Service")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_no_request(running: Running) -> None:
    """Bytes that are no request are refused as such."""
    with running.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(f"/{NAME}/Check")(b"\xff", timeout=TIMEOUT_S)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_watchers_come_and_go(running: Running) -> None:
    """Watchers that leave while others come and the status changes hold up nobody."""

    def come_and_go() -> None:
        with running.channel() as channel:
            for status in 25 * (SERVING, NOT_SERVING):
                running.health.set(status)
                watch = health_pb2_grpc.HealthStub(channel).Watch(
                    health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
                )
                assert next(watch).status in (SERVING, NOT_SERVING)
                watch.cancel()

    with ThreadPoolExecutor(8) as callers:
        for each in [callers.submit(come_and_go) for _ in range(8)]:
            each.result()
    assert check(running) == NOT_SERVING


def test_all_watchers_are_told(running: Running) -> None:
    """Each watcher is told the status at first and then each change."""
    with running.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        watches = [stub.Watch(request, timeout=TIMEOUT_S) for _ in range(100)]
        for status in (NOT_SERVING, SERVING, NOT_SERVING):
            running.health.set(status)
            assert {next(each).status for each in watches} == {status}
        for each in watches:
            each.cancel()


@pytest.fixture
def deaf(running: Running) -> Iterator[socket.socket]:
    """A watcher that leaves no room for an answer."""
    frames = [
        Frame(http2.SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)),
        http2.begin(f"/{NAME}/Watch"),
        Frame(http2.DATA, http2.END_STREAM, 1, http2.EMPTY_MESSAGE),
    ]
    with socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S) as connection:
        connection.sendall(http2.PREFACE + b"".join(frame.encode() for frame in frames))
        yield connection


def test_deaf_watcher(running: Running, deaf: socket.socket) -> None:
    """A watcher that takes no answer keeps none from others, and is cut off."""
    with running.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
        )
        assert next(watch).status == NOT_SERVING
        running.health.set(SERVING)
        assert next(watch).status == SERVING
        assert check(running) == SERVING
        watch.cancel()
    assert any(frame.kind == RESET for frame in http2.read_frames(deaf.makefile("rb")))


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_silent_caller(method: str, running: Running) -> None:
    """A caller who begins a call and sends no message is cut off."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield b""

    with running.channel() as channel:
        call = channel.stream_stream(f"/{NAME}/{method}")(nothing(), timeout=TIMEOUT_S)
        assert call.code() == grpc.StatusCode.CANCELLED
    over.set()
