"""Channelz, `grpc.channelz.v1`: the state of gRPC's connections, as gRPC's own servicer tells it.

That one answers an id that it does not know with a status and no message, and what follows logs the
missing message as a fault and hides the status.
"""

from collections.abc import Callable
from typing import Any

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2, channelz_pb2_grpc

_SERVICE = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
NAME = _SERVICE.full_name


def add_to(server: grpc.Server) -> None:
    """Let a server answer channelz."""
    servicer = channelz.ChannelzServicer()
    for method in _SERVICE.methods:
        setattr(servicer, method.name, _ending(getattr(servicer, method.name)))
    channelz_pb2_grpc.add_ChannelzServicer_to_server(servicer, server)


def _ending(method: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[..., Any]:
    """Return a method that ends a call for which it has no message with the status it has set."""

    def ended(request: Any, call: grpc.ServicerContext) -> Any:
        answer = method(request, call)
        if answer is None:
            code: grpc.StatusCode = call.code()  # type: ignore[attr-defined]  # The stub lacks it.
            call.abort(code, call.details())  # type: ignore[attr-defined]  # The stub lacks it.
        return answer

    return ended
