"""Whose share of the threads a call has, told before it has one.

A caller that is known has one share, however many connections it has; of others each connection has
one. What gRPC knows of a call at that time it does not promise to tell; without it all calls are of
one share.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # The stub lacks it.

from face_embedding_server.security.access import Access


class Share(NamedTuple):
    """Whose share a call has.

    Args:
        name: names it.
        is_known: whether what they send may be read before they are let in.
    """

    name: Hashable
    is_known: bool


# Told what gRPC hands over; see `cygrpc.RequestCallEvent`.
ShareOf = Callable[[Any], Share]
_CERTIFICATE = b"x509_pem_cert"


def by_caller(access: Access) -> ShareOf:
    """Return what names the share of a call."""

    def share_of(event: Any) -> Share:
        def certificate() -> bytes | None:
            pem: bytes | None
            (pem,) = cygrpc.auth_context(event.call).get(_CERTIFICATE, (None,))
            return pem

        if access.is_open:
            return Share(event.call.peer(), is_known=True)
        name = access.name(event.invocation_metadata, certificate)
        return Share(("name", name), is_known=True) if name else by_connection(event)

    return share_of


def by_connection(event: Any) -> Share:
    """Return the share of the connection of a call."""
    return Share(event.call.peer(), is_known=False)
