"""For whom a proxy makes a call, as it says in the call's metadata.

A proxy sets the key itself, or adds to what came to it, at the end: only the last is its own word.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers, on
x-forwarded-client-cert: one element a proxy, of fields such as `Hash=4f…;URI=spiffe://…`, in which
what holds a comma, a semicolon or an equals sign is in quotes.
"""

import functools
import re
from collections.abc import Iterable

ENVOY_KEY = "x-forwarded-client-cert"
# Of a client's certificate, from what names a caller best.
_NAMING = ("uri", "dns", "subject", "hash")
_FIELD = re.compile(r'(?:^|;)([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;"]*)')
_KNOWN = 1024
_MOST_CHARACTERS = 256


def identity(key: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return whom a proxy names as a call's caller; empty if it names nobody.

    Args:
        key: where it says so; of Envoy's, the client certificate's URI, DNS name, subject or hash
            is the name, and of others all there is.
        metadata: the call's.
    """
    said = [value for each, value in metadata if each == key and isinstance(value, str)]
    if not said:
        return ""
    name = _of_certificate(said[-1]) if key == ENVOY_KEY else said[-1]
    return name.strip()[:_MOST_CHARACTERS]


@functools.lru_cache(_KNOWN)
def _of_certificate(elements: str) -> str:
    fields = {name.lower(): value for name, value in _FIELD.findall(_last(elements))}
    return next((fields[each].strip('"') for each in _NAMING if fields.get(each)), "")


def _last(elements: str) -> str:
    """Return the last element, looking from its end: what others wrote before may be anything."""
    is_quoted = False
    for at in range(len(elements) - 1, -1, -1):
        if elements[at] == '"' and elements[at - 1 : at] != "\\":
            is_quoted = not is_quoted
        elif elements[at] == "," and not is_quoted:
            return elements[at + 1 :]
    return elements
