"""Channelz, `grpc.channelz.v1`: the state of gRPC's connections.

grpcio's own servicer fails where gRPC tells more than its messages have fields for, as of sockets
and channels, and ends a call for an id that it does not know without a message.
"""

import functools
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # The stub lacks it.
from grpc_channelz.v1 import channelz_pb2

from face_embedding_server.rpc import methods

_SERVICE = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
NAME = _SERVICE.full_name
# What gRPC tells as JSON, and the fields of the request that it takes.
_ASKED: dict[str, tuple[Callable[..., bytes], tuple[str, ...]]] = {
    "GetTopChannels": (cygrpc.channelz_get_top_channels, ("start_channel_id",)),
    "GetServers": (cygrpc.channelz_get_servers, ("start_server_id",)),
    "GetServer": (cygrpc.channelz_get_server, ("server_id",)),
    "GetServerSockets": (
        cygrpc.channelz_get_server_sockets,
        ("server_id", "start_socket_id", "max_results"),
    ),
    "GetChannel": (cygrpc.channelz_get_channel, ("channel_id",)),
    "GetSubchannel": (cygrpc.channelz_get_subchannel, ("subchannel_id",)),
    "GetSocket": (cygrpc.channelz_get_socket, ("socket_id",)),
}


def handler() -> grpc.GenericRpcHandler:
    """Return the service in the form that a server takes."""
    return grpc.method_handlers_generic_handler(NAME, {name: _handler(name) for name in _ASKED})


def _handler(name: str) -> Any:
    described = _SERVICE.methods_by_name[name]
    request, response = (
        getattr(channelz_pb2, each.name) for each in (described.input_type, described.output_type)
    )
    ask, fields = _ASKED[name]

    def answer(asked: Message, call: grpc.ServicerContext) -> Message:
        try:
            told = ask(*(getattr(asked, field) for field in fields))
        except ValueError as error:
            call.abort(grpc.StatusCode.NOT_FOUND, str(error))
        message: Message = json_format.Parse(told, response(), ignore_unknown_fields=True)
        return message

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=functools.partial(methods.parse, request),
        response_serializer=methods.serialize,
    )
