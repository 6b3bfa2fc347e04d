"""Frames of HTTP/2, for what no client of gRPC would send or see: RFC 9113, section 4."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
# A message of gRPC with no fields: not compressed, of length 0.
EMPTY_MESSAGE = bytes(5)
TIMEOUT_S = 60
# A setting, and what it is until it is told.
INITIAL_WINDOW_SIZE, INITIAL_WINDOW = 4, (1 << 16) - 1
# The most bytes in a frame, unless the other side allows more.
FRAME_BYTES = 1 << 14


@dataclass(frozen=True)
class Frame:
    """One frame; those of stream 0 belong to the connection and to no call."""

    kind: int
    flags: int = 0
    stream: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        length = struct.pack(">I", len(self.payload))[1:]
        return length + struct.pack(">BBI", self.kind, self.flags, self.stream) + self.payload


def read_frames(file: BinaryIO) -> Iterator[Frame]:
    """Yield what comes over a connection, until the other side closes it."""
    while header := file.read(9):
        kind, flags, stream = struct.unpack(">BBI", header[3:])
        yield Frame(kind, flags, stream, file.read(int.from_bytes(header[:3], "big")))


def begin(path: str, **metadata: bytes) -> Frame:
    """Begin a call of gRPC as stream 1; names of metadata have hyphens for underscores."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path.encode(),
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    } | {name.replace("_", "-").encode(): value for name, value in metadata.items()}
    return Frame(HEADERS, END_HEADERS, 1, _header_block(headers))


def trailers_of(port: int, path: str, **metadata: bytes) -> bytes:
    """Call a method with an empty message; return the block of the trailers."""
    frames = [
        Frame(SETTINGS),
        begin(path, **metadata),
        Frame(DATA, END_STREAM, 1, EMPTY_MESSAGE),
    ]
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(PREFACE + b"".join(frame.encode() for frame in frames))
        for frame in read_frames(file):
            if frame.kind == HEADERS and frame.flags & END_STREAM:
                return frame.payload
    raise AssertionError("the connection ended before the call")


def _header_block(headers: dict[bytes, bytes]) -> bytes:
    """Encode short headers, each as a literal that is not indexed: RFC 7541, section 6.2.2."""
    return b"".join(
        b"\x00" + bytes([len(key)]) + key + bytes([len(value)]) + value
        for key, value in headers.items()
    )
