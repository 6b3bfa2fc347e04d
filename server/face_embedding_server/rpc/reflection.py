"""Reflection, `grpc.reflection.v1alpha`: the contract, as grpcio's own servicer tells it.

An answer has the whole request in it, so that one may be no longer than a name.
"""

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.rpc import methods

NAME = reflection.SERVICE_NAME
_MOST_BYTES = 4096


def handler(names: Sequence[str]) -> grpc.GenericRpcHandler:
    """Return the service in the form that a server takes.

    Args:
        names: the full names of the services that it lists.
    """
    servicer = reflection.ReflectionServicer(names)
    return grpc.method_handlers_generic_handler(
        NAME,
        {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                servicer.ServerReflectionInfo,
                request_deserializer=_parse,
                response_serializer=methods.serialize,
            )
        },
    )


def _parse(data: bytes) -> reflection_pb2.ServerReflectionRequest:
    if len(data) > _MOST_BYTES:
        raise Refusal(
            Reason.MALFORMED,
            f"nothing has a name of {len(data):,} bytes; at most {_MOST_BYTES:,} are taken",
        )
    request: reflection_pb2.ServerReflectionRequest = methods.parse(
        reflection_pb2.ServerReflectionRequest, data
    )
    return request
