"""A program that calls a server at a set rate, whatever it answers, at little cost of its own.

`open_loop.py PORT RATE SECONDS` reads a message for `Embed` from its standard input, and writes
what came of the calls as JSON. A rate of 0 is a closed loop: the next call follows an answer.
"""

import contextlib
import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace

from support import http2
from support.http2 import Frame

EMBED = "/face_embedding.v1.FaceEmbeddingService/Embed"
DEADLINE_S = 1.0
CLOSED_CALLERS = 16
_CONNECTIONS = 8
_MOST_CALLS = 200
_RESET, _WINDOW_UPDATE = 3, 8
# HEADER_TABLE_SIZE 0, so that trailers are plain text, and windows that never fill.
_SETTINGS = struct.pack(">HIHI", 1, 0, 4, (1 << 31) - 1)
_MORE_WINDOW = struct.pack(">I", (1 << 31) - 1 - 65_535)


@dataclass
class Outcomes:
    """What came of the calls that were sent.

    Args:
        sent: how many there were.
        answered: how many of them in time.
        refused_s: the seconds that each refusal took.
        unexplained: how many ended before their deadline without an answer or a reason.
    """

    sent: int = 0
    answered: int = 0
    refused_s: list[float] = field(default_factory=list)
    unexplained: int = 0


class Connection:
    """One connection, with its calls under way."""

    def __init__(self, port: int, message: bytes, outcomes: Outcomes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        frames = (
            Frame(http2.SETTINGS, payload=_SETTINGS),
            Frame(_WINDOW_UPDATE, payload=_MORE_WINDOW),
        )
        self.socket.sendall(http2.PREFACE + b"".join(frame.encode() for frame in frames))
        self.socket.setblocking(False)
        self._out, self._in = bytearray(), bytearray()
        self._window = 65_535
        self._started: dict[int, float] = {}
        self._has_message: set[int] = set()
        self._next = 1
        self._outcomes = outcomes
        deadline = b"%dm" % (DEADLINE_S * 1000)
        self._begin = http2.begin(EMBED, grpc_timeout=deadline)
        self._body = b"\0" + struct.pack(">I", len(message)) + message

    def call(self, due: float) -> None:
        """Begin a call, unless the server holds it back."""
        if len(self._started) >= _MOST_CALLS or self._window < len(self._body):
            return
        stream, self._next = self._next, self._next + 2
        body = Frame(http2.DATA, http2.END_STREAM, stream, self._body)
        self._out += replace(self._begin, stream=stream).encode() + body.encode()
        self._window -= len(self._body)
        self._started[stream] = due
        self._outcomes.sent += 1

    def exchange(self) -> int:
        """Send and receive what there is; return how many calls have ended."""
        before = len(self._started)
        with contextlib.suppress(BlockingIOError):
            self._in += self.socket.recv(1 << 18)
        while len(self._in) >= 9:
            length = int.from_bytes(self._in[:3], "big")
            if len(self._in) < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._in, 3)
            self._take(kind, flags, stream, bytes(self._in[9 : 9 + length]))
            del self._in[: 9 + length]
        self.flush()
        return before - len(self._started)

    def flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._out[: self.socket.send(self._out)]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        acknowledged = flags & http2.ACK
        if kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == http2.PING and not acknowledged:
            self._out += Frame(kind, http2.ACK, 0, payload).encode()
        elif kind == http2.SETTINGS and not acknowledged:
            self._out += Frame(kind, http2.ACK).encode()
        elif kind == http2.DATA:
            self._has_message.add(stream)
        elif kind == _RESET or (kind == http2.HEADERS and flags & http2.END_STREAM):
            self._end(stream, payload)

    def _end(self, stream: int, trailers: bytes) -> None:
        due = self._started.pop(stream, None)
        if due is None:
            return
        took = time.perf_counter() - due
        if b"grpc-retry-pushback-ms" in trailers:
            self._outcomes.refused_s.append(took)
        elif took <= DEADLINE_S:
            answered = stream in self._has_message
            self._outcomes.answered += answered
            self._outcomes.unexplained += not (answered or b"grpc-status-details-bin" in trailers)
        self._has_message.discard(stream)


def run(port: int, message: bytes, rate: float, seconds: float) -> Outcomes:
    """Call at a rate for some seconds, and wait for what is under way."""
    outcomes = Outcomes()
    connections = deque(Connection(port, message, outcomes) for _ in range(_CONNECTIONS))
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    start = time.perf_counter()
    begun = ended = 0
    while (now := time.perf_counter() - start) < seconds + DEADLINE_S:
        # In an open loop as time goes by, whatever has ended; in a closed one as calls end.
        wanted = int(rate * now) if rate else ended + CLOSED_CALLERS
        while begun < wanted and now < seconds:
            connections.rotate()
            connections[0].call(start + (begun / rate if rate else now))
            begun += 1
        for connection in connections:
            connection.flush()
        ended += sum(key.data.exchange() for key, _ in selector.select(0.002))
    return outcomes


def main() -> None:
    """Run, and report."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    outcomes = run(port, sys.stdin.buffer.read(), rate, seconds)
    json.dump(vars(outcomes) | {"processor_s": time.process_time()}, sys.stdout)


if __name__ == "__main__":
    main()
