"""The connections of one client: one, and more while there are more calls than one should carry.

A connection stays in that process of a server, and behind that balancer's choice, where it began:
one alone would leave the others without calls.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc

from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client._channel import unary_methods

DEFAULT_CONNECTIONS = 8
# Calls under way on each connection before there is one more. A stream is as many.
FULL = 4

C = TypeVar("C", bound=grpc.Channel | grpc.aio.Channel)


@dataclass
class Line(Generic[C]):
    """One connection, with what calls over it.

    Args:
        channel: what it is made with.
        stub: calls streams.
        methods: the unary methods by the names that operations call them by.
        calls: how many are under way.
    """

    channel: C
    stub: Any
    methods: dict[str, Any]
    calls: int = 0


class Lines(Generic[C]):
    """Opens connections as they are needed, and has each call use the one with the fewest.

    Args:
        open_channel: opens a channel, with a connection of its own.
        any_channel: is asked whether any of several servers is well.
        most: the most connections that are opened.

    Raises:
        ValueError: if that is less than one.
    """

    def __init__(self, open_channel: Callable[[], C], any_channel: C, most: int) -> None:
        if most < 1:
            raise ValueError(f"connections is {most}, it has to be at least 1")
        self._open_channel = open_channel
        self._any_channel = any_channel
        self._most = most
        self._lock = threading.Lock()
        self._lines = [self._open()]

    @contextlib.contextmanager
    def taken(self, calls: int = 1) -> Iterator[Line[C]]:
        """Give a connection for one call, or for what is as many."""
        with self._lock:
            line = min(self._lines, key=lambda each: each.calls)
            if line.calls >= FULL and len(self._lines) < self._most:
                line = self._open()
                self._lines.append(line)
            line.calls += calls
        try:
            yield line
        finally:
            with self._lock:
                line.calls -= calls

    @property
    def channels(self) -> list[C]:
        """All that have to be closed."""
        with self._lock:
            return [self._any_channel, *(line.channel for line in self._lines)]

    def _open(self) -> Line[C]:
        channel = self._open_channel()
        stub: Any = pb_grpc.FaceEmbeddingServiceStub(channel)  # type: ignore[arg-type]  # Either.
        return Line(channel, stub, unary_methods(stub, channel, self._any_channel))
