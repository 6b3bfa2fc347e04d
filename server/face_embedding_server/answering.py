"""How a method of a service becomes a handler of gRPC.

Requests arrive as bytes and are parsed here, so that bytes that are no request get an error of the
contract like any other mistake. A refusal or a fault becomes the status of the call.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server import errors
from face_embedding_server.errors import Refusal
from face_embedding_server.telemetry import current

Request = TypeVar("Request", bound=Message)

_log = logging.getLogger(__name__)


def unary(
    admit: Callable[[], AbstractContextManager[None]],
    kind: type[Request],
    method: Callable[[Request], Message],
) -> "grpc.RpcMethodHandler[bytes, Message]":
    """Return a method that takes one message and gives one as a handler.

    Args:
        admit: gives the block in which a call is answered; it may refuse it.
        kind: the type of the request.
        method: answers a request; it may raise.
    """

    def call(data: bytes, context: grpc.ServicerContext) -> Message:
        try:
            with admit():
                return method(parse(kind, data))
        except Exception as error:
            abort(context, refusal_of(error))

    return grpc.unary_unary_rpc_method_handler(call, response_serializer=serialize)


def serialize(message: Message) -> bytes:
    """Return a message as bytes."""
    return message.SerializeToString()


def only(data: Iterator[bytes]) -> bytes:
    """Return the only message of a call.

    Raises:
        Refusal: if there is none.
    """
    for message in data:
        return message
    raise Refusal(pb.ERROR_REASON_MALFORMED, "the call has no message")


def parse(kind: type[Request], data: bytes) -> Request:
    """Return a message from bytes.

    Raises:
        Refusal: if they are none of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Refusal(
            pb.ERROR_REASON_MALFORMED,
            f"the bytes are not a {kind.DESCRIPTOR.full_name}; is the caller's contract the same?",
        ) from error


def refusal_of(error: Exception) -> Refusal:
    """Return an error as the refusal that the caller is told, and tell the operator of it."""
    refusal = error if isinstance(error, Refusal) else errors.internal_error()
    if refusal is not error:
        _log.error("a request failed", exc_info=error)
    current.rejected(refusal)
    return refusal


def abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    """End a call with a refusal as its status."""
    status = errors.status_of(refusal)
    details = (errors.STATUS_DETAILS_KEY, status.SerializeToString())
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), details))
    context.abort(errors.code_of(refusal), status.message)
