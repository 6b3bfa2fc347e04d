"""Which servers are asked through the proxy that the environment names.

gRPC takes one by `grpc_proxy`, `https_proxy` or `http_proxy` for every address, this machine's own
among them, where no proxy ever leads.
"""

import ipaddress
import os
from urllib.parse import unquote

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_LOCAL_SCHEMES = frozenset({"unix", "unix-abstract", "vsock"})
_LIST_SCHEMES = frozenset({"ipv4", "ipv6"})
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


def is_local(address: str) -> bool:
    """Return whether a target of gRPC is this machine, by all the addresses that it lists."""
    scheme, _, rest = address.partition(":")
    scheme = scheme.lower()
    if scheme in _LOCAL_SCHEMES:
        return True
    if scheme in _LIST_SCHEMES:
        return all(map(_is_loopback, rest.lstrip("/").split(",")))
    return _is_loopback(rest.rpartition("/")[2] if scheme == "dns" else address)


def hint() -> str:
    """Return what to do about a server that cannot be reached, if the environment names a proxy."""
    for variable in _VARIABLES:
        if os.environ.get(variable):
            return (
                f"{variable} is set, so the server is asked through that proxy: name the host in "
                f"no_proxy, or unset {variable}, to ask it directly"
            )
    return ""


def _is_loopback(host_and_port: str) -> bool:
    text = unquote(host_and_port).strip()
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    else:
        host = text
    host = host.lower().rstrip(".").partition("%")[0]
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return bool(inner.is_loopback or inner.is_unspecified)
