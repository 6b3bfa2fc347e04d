"""A port that the processes of one server have in common, and nobody else."""

import socket

import pytest

from face_embedding_server.processes.port import Port
from face_embedding_server.settings import SettingsError


def listen(port: int, *, shared: bool) -> socket.socket:
    """Listen as gRPC does."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_own_processes() -> None:
    """Several processes listen on it."""
    with (
        Port("127.0.0.1:0") as port,
        listen(port.number, shared=True),
        listen(port.number, shared=True),
    ):
        assert port.address == f"127.0.0.1:{port.number}"


def test_second_server() -> None:
    """A second server of several processes cannot have it, whether or not these listen yet."""
    with Port("127.0.0.1:0") as port:
        with pytest.raises(SettingsError, match="another server is there"):
            Port(port.address)
        with (
            listen(port.number, shared=True),
            pytest.raises(SettingsError, match="another server is there"),
        ):
            Port(port.address)


def test_server_of_one_process() -> None:
    """A server of one process cannot have it."""
    with Port("127.0.0.1:0") as port, pytest.raises(OSError, match="in use"):
        listen(port.number, shared=False)


def test_taken() -> None:
    """It cannot be had where a server of one process listens."""
    with listen(0, shared=False) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"cannot listen on {address}"):
            Port(address)


def test_again() -> None:
    """It can be had again at once after it had connections."""
    with (
        Port("127.0.0.1:0") as port,
        listen(port.number, shared=True) as listener,
        socket.create_connection(("127.0.0.1", port.number)),
    ):
        listener.accept()[0].close()  # The side that closes first keeps the port for a while.
    with Port(port.address) as again:
        assert again.number == port.number


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "localhost", "[::1]"])  # noqa: S104  # Tried.
def test_hosts(host: str) -> None:
    """Every address that a host stands for is taken."""
    with Port(f"{host}:0") as port, pytest.raises(SettingsError):
        Port(f"{host}:{port.number}")


def test_foreign_host() -> None:
    """A host that is not of this machine is named."""
    with pytest.raises(SettingsError, match="the host is not of this machine"):
        Port("192.0.2.1:0")
