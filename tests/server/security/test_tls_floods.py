"""Connections to a server with TLS that never become any."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from face_embedding_client import FaceEmbeddingClient, RawFace, Tls
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Pixels
from support import RunningServer, issue, running_server, small_settings

MANY = 300
HONEST_S = 5
AUTHORITY = trustme.CA()
# A handshake's header and the beginning of a ClientHello: RFC 8446, sections 4.1.2 and 5.1.
HALF_HELLO = bytes.fromhex("16030100c8010000c40303")

FLOOD = """
import socket, sys
_, port, said = sys.argv
for number in range(10**9):
    with socket.create_connection(("127.0.0.1", int(port))) as opened:
        opened.sendall(bytes.fromhex(said))
    if number == 100:
        print("begun", flush=True)
"""


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    identity = issue(tmp_path_factory.mktemp("tls"), AUTHORITY, "localhost")
    settings = small_settings(store, detector="none", **identity.settings())
    with running_server(settings) as running:
        yield running


def port_of(server: RunningServer) -> int:
    return int(server.address.rpartition(":")[2])


def honest_call(server: RunningServer, face: Pixels) -> float:
    """How long a new client waits for an embedding, in seconds."""
    since = time.perf_counter()
    tls = Tls(AUTHORITY.cert_pem.bytes())
    with FaceEmbeddingClient(f"localhost:{port_of(server)}", tls=tls) as client:
        assert client.embed(RawFace(face, "BGR")).norm > 0
    return time.perf_counter() - since


@pytest.mark.parametrize(
    "say", [b"", HALF_HELLO, b"\x07" * 300, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ids=["silent", "half", "junk", "plaintext"],
)  # fmt: skip
def test_open_connections(say: bytes, server: RunningServer, faces: list[Pixels]) -> None:
    """Beside hundreds that do not shake hands, a new client is answered soon."""
    with contextlib.ExitStack() as stack:
        for _ in range(MANY):
            opened = socket.create_connection(("127.0.0.1", port_of(server)))
            stack.enter_context(opened).sendall(say)
        assert honest_call(server, faces[0]) < HONEST_S


def test_flood(server: RunningServer, faces: list[Pixels]) -> None:
    """So it is while others connect, begin to shake hands and leave, as fast as they can."""
    # A process of its own: it takes nothing of this interpreter, in which the server is.
    command = [sys.executable, "-c", FLOOD, str(port_of(server)), HALF_HELLO.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout
            assert flood.stdout.readline() == b"begun\n"
            assert honest_call(server, faces[0]) < HONEST_S
            assert flood.poll() is None
        finally:
            flood.kill()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only on Linux")
def test_nothing_stays(server: RunningServer) -> None:
    """What was opened and left leaves no file open in the server."""
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir()))
    for _ in range(MANY):
        with socket.create_connection(("127.0.0.1", port_of(server))) as opened:
            opened.sendall(HALF_HELLO)
    deadline = time.monotonic() + 30
    while len(list(folder.iterdir())) > before + 10:
        assert time.monotonic() < deadline
