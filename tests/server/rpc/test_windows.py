"""How much gRPC takes of what a call sends, before anybody asks for it."""

import socket
import struct
from collections.abc import Iterable
from itertools import repeat

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.store import Store
from support import http2, running_server, small_settings
from support.http2 import Frame

STREAM = "/face_embedding.v1.FaceEmbeddingService/EmbedStream"
ITEM_BYTES = 10_000
ITEMS = 6_000
# Two items are read, one of which waits for room; what nobody reads yet has 512 KB.
MOST_BYTES = 1 << 20


class Sender:
    """Begins a call that takes no answer, and sends as much as the server's windows allow.

    The windows are those of RFC 9113, section 5.2.
    """

    def __init__(self, connection: socket.socket, path: str) -> None:
        self._connection = connection
        self._frames = http2.read_frames(connection.makefile("rb"))
        self._initial = http2.INITIAL_WINDOW
        # Of the connection, which is stream 0, and of the call.
        self._windows = {0: self._initial, 1: self._initial}
        no_answer_fits = struct.pack(">HI", http2.INITIAL_WINDOW_SIZE, 0)
        connection.sendall(http2.PREFACE)
        self._send(Frame(http2.SETTINGS, payload=no_answer_fits))
        self._send(http2.begin(path))

    def send(self, messages: Iterable[bytes]) -> int:
        """Send messages until there are none or the call ends; return their bytes."""
        sent = 0
        for message in messages:
            while min(self._windows.values()) < len(message):
                if self._has_ended(next(self._frames)):
                    return sent
            self._send(Frame(http2.DATA, stream=1, payload=message))
            for stream in self._windows:
                self._windows[stream] -= len(message)
            sent += len(message)
        return sent

    def _has_ended(self, frame: Frame) -> bool:
        match frame.kind:
            case http2.WINDOW_UPDATE:
                self._windows[frame.stream] += int.from_bytes(frame.payload, "big")
            case http2.SETTINGS if not frame.flags & http2.ACK:
                self._send(Frame(http2.SETTINGS, http2.ACK))
                told = dict(struct.iter_unpack(">HI", frame.payload))
                before = self._initial
                self._initial = told.get(http2.INITIAL_WINDOW_SIZE, before)
                self._windows[1] += self._initial - before
            case http2.PING if not frame.flags & http2.ACK:
                self._send(Frame(http2.PING, http2.ACK, payload=frame.payload))
            case http2.RST_STREAM:
                return True
        return frame.kind == http2.HEADERS and bool(frame.flags & http2.END_STREAM)

    def _send(self, frame: Frame) -> None:
        self._connection.sendall(frame.encode())


def test_unread_stream(store: Store) -> None:
    """Of a stream whose answers nobody takes, little more is taken than the items in flight."""
    settings = small_settings(store, detector="none", max_stream_in_flight=1, patience_s=1)
    no_image = pb.Face(encoded=bytes(ITEM_BYTES), aligned=pb.Aligned())
    item = pb.EmbedStreamRequest(face=no_image).SerializeToString()
    message = struct.pack(">BI", 0, len(item)) + item
    with running_server(settings) as running:
        place = "127.0.0.1", running.server.port
        with socket.create_connection(place, http2.TIMEOUT_S) as connection:
            sent = Sender(connection, STREAM).send(repeat(message, ITEMS))
    assert len(message) < sent < MOST_BYTES
