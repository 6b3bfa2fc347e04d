"""Where a server listens, as people write it."""

import ipaddress
import re

# An IPv6 address with its zone, which alone has colons in it; or a name or an IPv4 address.
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^:\[\]/\s]+")
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65535


def checked(address: str) -> str:
    """Return an address to listen on, if it is one.

    Raises:
        ValueError: if it is none; the message says in words what is expected.
    """
    host, _, port = address.rpartition(":")
    if host == "unix" or address.startswith("unix:"):
        raise ValueError("it has to be HOST:PORT; this server listens on no Unix socket")
    if not _HOST.fullmatch(host):
        raise ValueError(
            "it has to be HOST:PORT, the host a name, an IPv4 address or an IPv6 address in "
            "brackets, such as 127.0.0.1:50051, 0.0.0.0:50051 or [::1]:50051"
        )
    if not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
        raise ValueError(f"its port has to be a number from 0, for a free one, to {_LAST_PORT}")
    return address


def is_loopback(address: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
