"""Callers who open calls and send nothing, or take nothing of what they get."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from callers import checking, connected, embedding, p99, timed, timed_for
from open_loop import EMBED
from promises import Figures, Promise, Scenario, scenario

from face_embedding_client import FaceEmbeddingClient
from support import http2, wait_until
from support.http2 import Frame
from support.processes import Running, serving

_HEALTH = "/grpc.health.v1.Health/"
_STREAM = "/face_embedding.v1.FaceEmbeddingService/EmbedStream"
# Less than the server takes from one connection.
_MOST_CALLS = 200
_WAIT_S = 2
# Where the callers take the processors as well.
_LIMIT_MS = 2000
# INITIAL_WINDOW_SIZE 0: nothing may be sent to who says so.
_NO_WINDOW = struct.pack(">HI", 4, 0)


@contextlib.contextmanager
def _calls(
    running: Running, path: str, number: int, message: bytes = b"", settings: bytes = b""
) -> Iterator[socket.socket]:
    """Open calls over as few connections as there have to be; give the first of these."""
    with contextlib.ExitStack() as stack:
        connections = []
        for first in range(0, number, _MOST_CALLS):
            frames = [Frame(http2.SETTINGS, payload=settings)]
            for index in range(min(_MOST_CALLS, number - first)):
                frames.append(replace(http2.begin(path), stream=2 * index + 1))
                if message:
                    frames.append(Frame(http2.DATA, 0, 2 * index + 1, message))
            made = socket.create_connection(("127.0.0.1", running.port), http2.TIMEOUT_S)
            connections.append(stack.enter_context(made))
            made.sendall(http2.PREFACE + b"".join(frame.encode() for frame in frames))
        yield connections[0]


def _ended(connection: socket.socket) -> tuple[float, bytes]:
    """Wait until a call of a connection ends; return the seconds, and its trailers."""
    start = time.perf_counter()
    with connection.makefile("rb") as file:
        for frame in http2.read_frames(file):
            if frame.kind == http2.HEADERS and frame.flags & http2.END_STREAM:
                return time.perf_counter() - start, frame.payload
    raise AssertionError("the connection ended before the call")


def _silence(number: int, limit_ms: int) -> Scenario:
    def figures(store: Path) -> Figures:
        with (
            serving(store) as running,
            connected(running.address) as channel,
            _calls(running, EMBED, number),
        ):
            yield 1000 * p99(timed_for(3, embedding(channel)))

    text = f"an aligned face beside {number:,} calls that send nothing: p99"
    return Scenario((Promise(text, 200, "ms", limit_ms),), figures)


@scenario(
    Promise(
        "health beside 1,000 checks that send nothing, and as many that watch: p99",
        200,
        "ms",
        _LIMIT_MS,
    ),
    Promise("a new client's first answer beside them", 2, "s"),
)
def _health(store: Path) -> Figures:
    with (
        serving(store) as running,
        _calls(running, f"{_HEALTH}Check", 1000),
        _calls(running, f"{_HEALTH}Watch", 1000, http2.EMPTY_MESSAGE),
        connected(running.address) as channel,
    ):
        yield 1000 * p99(timed_for(3, checking(channel)))

        def start() -> None:
            address = f"ipv4:{running.address}"
            with FaceEmbeddingClient(address, round_robin=True) as client:
                client.model_info()

        yield timed(start)


@scenario(
    Promise(f"a call that sends nothing is ended, with --patience-s {_WAIT_S}", 4, "s"),
    Promise(f"a stream in which nothing comes is ended, with --stream-idle-s {_WAIT_S}", 4, "s"),
    Promise(f"a stream whose answers nobody takes is ended, with --patience-s {_WAIT_S}", 6, "s"),
)
def _cut_off(store: Path) -> Figures:
    flags = ("--patience-s", str(_WAIT_S), "--stream-idle-s", str(_WAIT_S))
    with serving(store, *flags) as running:
        with _calls(running, EMBED, 1) as connection:
            yield _ended(connection)[0]
        with _calls(running, _STREAM, 1, http2.EMPTY_MESSAGE) as connection:
            seconds, trailers = _ended(connection)
            assert b"nothing came on this stream" in trailers, "it was ended without a reason"
            yield seconds

        def streams() -> float:
            return running.metric('in_flight_requests{kind="stream"}')

        with _calls(running, _STREAM, 1, http2.EMPTY_MESSAGE * 1000, _NO_WINDOW):
            wait_until(lambda: streams() == 1)
            yield timed(lambda: wait_until(lambda: streams() == 0))


SCENARIOS = (_silence(128, 1000), _silence(1000, _LIMIT_MS), _health, _cut_off)
