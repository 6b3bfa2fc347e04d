"""The port of the metrics, against readers who do not behave."""

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import grpc
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.telemetry import http
from support import RunningServer, running_server, small_settings, wait_until

TIMEOUT_S = 60
HONEST_S = 2
MANY = 200
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[RunningServer]:
    settings = small_settings(store, metrics_address="127.0.0.1:0", detector="none")
    with running_server(settings) as running:
        yield running


@contextlib.contextmanager
def connections(server: RunningServer, number: int, say: bytes) -> Iterator[list[socket.socket]]:
    """Connections to the metrics over which something is said, and nothing is read."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            each = stack.enter_context(socket.socket())
            # As little as the kernel lets wait for a reader.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            each.connect(("127.0.0.1", server.server.metrics_port))
            with contextlib.suppress(OSError):  # It may have given way already.
                each.sendall(say)
            opened.append(each)
        yield opened


def honest_scrape(server: RunningServer) -> float:
    """How long an honest reader waits for the metrics, in seconds."""
    since = time.perf_counter()
    url = f"http://127.0.0.1:{server.server.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        assert b"face_embedding_requests_total" in response.read()
    return time.perf_counter() - since


@pytest.mark.parametrize(
    "say", [b"", REQUEST[:-2], REQUEST[:9], REQUEST], ids=["silent", "unended", "cut", "unread"]
)
def test_honest_reader(say: bytes, server: RunningServer) -> None:
    """Beside hundreds who send or read nothing, an honest reader and a call are answered soon."""
    with connections(server, MANY, say), grpc.insecure_channel(server.address) as channel:
        assert honest_scrape(server) < HONEST_S
        since = time.perf_counter()
        info = pb_grpc.FaceEmbeddingServiceStub(channel).GetModelInfo
        info(pb.GetModelInfoRequest(), timeout=TIMEOUT_S)
        assert time.perf_counter() - since < HONEST_S


def test_threads(server: RunningServer) -> None:
    """However many connect, a bounded number of connections is open, and each has a thread."""
    before = threading.active_count()
    with connections(server, MANY, b""):
        honest_scrape(server)  # All that came before are taken.
        wait_until(lambda: threading.active_count() <= before + http.MAX_CONNECTIONS)
    wait_until(lambda: threading.active_count() <= before)


def test_silent(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection over which nothing comes is ended, though nobody else needs its place."""
    monkeypatch.setattr(http._Handler, "timeout", 0.2)
    with connections(server, 1, REQUEST[:9]) as (connection,):
        connection.settimeout(TIMEOUT_S)
        assert connection.recv(1) == b""


def test_stop(store: Store) -> None:
    """Readers who stay do not keep a server from stopping."""
    settings = small_settings(store, metrics_address="127.0.0.1:0", detector="none")
    with contextlib.ExitStack() as stack:
        with running_server(settings, load=False) as running:
            stack.enter_context(connections(running, 20, REQUEST[:9]))
            honest_scrape(running)
            since = time.monotonic()
        assert time.monotonic() - since < 5
