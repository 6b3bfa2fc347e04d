"""The addresses of servers."""

from typing import Any

import grpc
import pytest

from face_embedding_client import AsyncFaceEmbeddingClient, FaceEmbeddingClient
from face_embedding_client._address import check
from support import RunningServer

REFUSED = {
    "127.0.0.1:99999": "the port '99999' of the address '127.0.0.1:99999' is no number from 1 to",
    "[::1]:65536": "the port '65536' of",
    "127.0.0.1:0": "the port '0' of",
    "127.0.0.1:-5": "the port '-5' of",
    "127.0.0.1:": "the port '' of",
    "dns:///faces.example.org:70000": "the port '70000' of",
    "dns:faces.example.org:70000": "the port '70000' of",
    "dns://10.0.0.1/faces.example.org:70000": "the port '70000' of",
    "ipv4:10.0.0.1:50051,10.0.0.2:70000": "the port '70000' of",
    "ipv6:%5B::1%5D:70000": "the port '70000' of",
    "http://127.0.0.1:50051": "is a URL: give HOST:PORT, such as faces.example.org:50051",
    "::1:50051": "is none: give HOST:PORT, such as",
    "a b:50051": "is none: give HOST:PORT, such as",
    "": "the address '' is none: give HOST:PORT, such as",
}


@pytest.mark.parametrize(("address", "message"), REFUSED.items())
@pytest.mark.parametrize("client", [FaceEmbeddingClient, AsyncFaceEmbeddingClient])
def test_refused(client: Any, address: str, message: str) -> None:
    """What is no address is refused before anything is sent, in words that say what is expected."""
    with pytest.raises(ValueError, match="address") as raised:
        client(address)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "localhost",
        "[::1]:65535",
        "dns:///localhost:50051",
        "dns://10.0.0.1:53/localhost",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:1,%5B::1%5D:2",
        "unix:/run/a:99999",
        "unix-abstract:faces",
        "xds:///faces",
    ],
)
def test_taken(address: str) -> None:
    """Everything that gRPC's syntax has is taken."""
    check(address)


def test_port_of_another(server: RunningServer) -> None:
    """What gRPC itself takes for the port of a running server, 65536 above it, is refused."""
    host, _, port = server.address.rpartition(":")
    with grpc.insecure_channel(f"{host}:{int(port) + 65536}") as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
    with pytest.raises(ValueError, match="the port"):
        FaceEmbeddingClient(f"{host}:{int(port) + 65536}")


def test_command(run: Any) -> None:
    """The command says it in one line."""
    status, out, err = run("health", address="127.0.0.1:99999")
    assert (status, out) == (2, "")
    assert err.startswith("face-embedding: error: the port '99999' of the address")
    assert err.count("\n") == 1
