"""A port that several processes of one server listen on, and nobody else.

The kernel gives each new connection to one of those that listen. It lets in whoever says at binding
that they share (`SO_REUSEPORT`), so that a second server would get half of the connections instead
of an error. Therefore the port is first taken by a socket that shares it with nobody, and that says
only then that it does; a second server fails to do so.

Source: `socket(7)`, and `inet_csk_bind_conflict` of Linux, which asks for what both sockets say at
the time when the second one is bound.
"""

import socket
from types import TracebackType

from face_embedding_server import listening

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # What the operator may have given.


class Port:
    """A port taken for the processes of this server, until it is closed.

    Args:
        address: HOST:PORT; port 0 takes a free one.

    Raises:
        SettingsError: if another server is there, or the host is not of this machine.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._sockets: list[socket.socket] = []
        self.number = int(port)
        try:
            for family, where in _places(host.strip("[]")):
                taken = _take(family, where, self.number)
                self._sockets.append(taken)
                self.number = taken.getsockname()[1]
        except OSError as error:
            self.close()
            raise listening.not_to_be_had(address, error) from error
        # With the number, if it was left open.
        self.address = f"{host}:{self.number}"

    def close(self) -> None:
        """Leave the port to others."""
        for each in self._sockets:
            each.close()

    def __enter__(self) -> "Port":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()


def _places(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Return where gRPC listens if it is told a host."""
    if host in _WILDCARDS:
        # On one socket for both families, where there are both.
        if socket.has_dualstack_ipv6():
            return [(socket.AF_INET6, "::")]
        return [(socket.AF_INET, "0.0.0.0")]  # noqa: S104  # As the operator said.
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))


def _take(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    taken = socket.socket(family)
    try:
        # Who was connected to a server before is not in the way.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host not in _WILDCARDS))
        taken.bind((host, port))
        # From here on not with others that are bound and do not listen yet, but with our own.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        taken.close()
        raise
    return taken
