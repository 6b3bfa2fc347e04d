"""Where a server is, as people write it."""

import re
from urllib.parse import unquote

# Of gRPC's syntax, those whose rest is hosts and ports; the rest of others is their own matter.
# https://github.com/grpc/grpc/blob/master/doc/naming.md
_WITH_PORTS = re.compile(r"(dns|ipv4|ipv6):(//[^/]*/)?")
_WITHOUT_PORTS = re.compile(r"(unix|unix-abstract|vsock|xds|google-c2p|passthrough):")
_URL = re.compile(r"(https?|grpcs?|tcp)://", re.IGNORECASE)
_HOST_PORT = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]/\s]+)(:(?P<port>.*))?")
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65535
_EXPECTED = (
    "give HOST:PORT, such as faces.example.org:50051, 127.0.0.1:50051 or [::1]:50051, or a name in "
    "gRPC's syntax, such as dns:///faces.example.org:50051"
)


def check(address: str) -> None:
    """Refuse what gRPC would take for another address: of a port above 65535 it takes the rest.

    Raises:
        ValueError: if it is no address; the message says in words what is expected.
    """
    if _WITHOUT_PORTS.match(address):
        return
    if _URL.match(address):
        raise ValueError(f"the address '{address:.100}' is a URL: {_EXPECTED}")
    scheme = _WITH_PORTS.match(address)
    rest = unquote(address[scheme.end() :]) if scheme else address
    for place in rest.split(",") if scheme and scheme[1] != "dns" else [rest]:
        found = _HOST_PORT.fullmatch(place)
        if not found:
            raise ValueError(f"the address '{address:.100}' is none: {_EXPECTED}")
        port = found["port"]
        if port is not None and not (_PORT.fullmatch(port) and 0 < int(port) <= _LAST_PORT):
            raise ValueError(
                f"the port '{port:.20}' of the address '{address:.100}' is no number from 1 to "
                f"{_LAST_PORT}"
            )
