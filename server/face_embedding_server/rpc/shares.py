"""Whose share of the threads a call has, told before it has one.

A caller that is known has one share, however many connections it has; of others each connection has
one. What gRPC knows of a call at that time it does not promise to tell; without it all calls are of
one share.
"""

from collections.abc import Callable, Hashable
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # The stub lacks it.

from face_embedding_server.security.access import Access

# Told what gRPC hands over; see `cygrpc.RequestCallEvent`.
ShareOf = Callable[[Any], Hashable]
_CERTIFICATE = b"x509_pem_cert"


def by_caller(access: Access) -> ShareOf:
    """Return what names the share of a call."""

    def share_of(event: Any) -> Hashable:
        def certificate() -> bytes | None:
            pem: bytes | None
            (pem,) = cygrpc.auth_context(event.call).get(_CERTIFICATE, (None,))
            return pem

        name = access.name(event.invocation_metadata, certificate)
        return ("name", name) if name else by_connection(event)

    return share_of


def by_connection(event: Any) -> Hashable:
    """Return what names the connection of a call."""
    peer: bytes = event.call.peer()
    return peer
