"""What the server knows of a method that it answers. Each service has a table of them.

A method is nothing but what it takes, what answers it, and who may call it. What comes before and
after is the interceptor's.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.rpc import wire
from face_embedding_server.security.access import Permission

OPEN: frozenset[Permission] = frozenset()
EMBED: frozenset[Permission] = frozenset({"embed"})
COMPARE: frozenset[Permission] = frozenset({"compare", "decide"})
DESCRIBE: frozenset[Permission] = frozenset({"embed", "compare", "decide", "info"})
INSPECT: frozenset[Permission] = frozenset({"info"})
DEBUG: frozenset[Permission] = frozenset({"debug"})

# Of the service and the request.
Answer: TypeAlias = Callable[[Any, Any], Message]
# Of the service, the requests as bytes, and the call.
AnswerStream: TypeAlias = Callable[[Any, Iterator[bytes], grpc.ServicerContext], Iterator[Message]]


@dataclass(frozen=True)
class Method:
    """A method that answers one message with one.

    Args:
        name: of the method.
        request: the type of what it takes.
        answer: answers it; it may raise a `Refusal`.
        permissions: any of these is enough to call it; with none, everyone may.
        admitted: whether it is refused while the server stops.
    """

    name: str
    request: type[Message]
    answer: Answer
    permissions: frozenset[Permission]
    admitted: bool = True


@dataclass(frozen=True)
class StreamMethod:
    """A method that answers a stream of messages, given as bytes, with a stream.

    Args:
        name: of the method.
        answer: answers it; it may raise a `Refusal`.
        permissions: any of these is enough to call it.
        admitted: whether it is refused while the server stops.
    """

    name: str
    answer: AnswerStream
    permissions: frozenset[Permission]
    admitted: bool = True


AnyMethod: TypeAlias = Method | StreamMethod
# Of the services that come with gRPC, whose handlers are its own; all others need DEBUG.
FOREIGN = {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": INSPECT}


def handler(name: str, methods: Sequence[AnyMethod], service: object) -> grpc.GenericRpcHandler:
    """Return the methods of a service in the form that a server takes.

    Args:
        name: the service's full name.
        methods: its methods.
        service: what their functions are given first.

    They take bytes, as the interceptor gives them, and so does a stream, item by item: a server of
    grpcio that fails to parse an item of a stream can never be stopped again.
    """
    handlers: dict[str, Any] = {}
    for method in methods:
        if isinstance(method, StreamMethod):
            handlers[method.name] = grpc.stream_stream_rpc_method_handler(
                functools.partial(method.answer, service), response_serializer=serialize
            )
        else:
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                _unary(method, service), response_serializer=serialize
            )
    return grpc.method_handlers_generic_handler(name, handlers)


def _unary(method: Method, service: object) -> Callable[[bytes, grpc.ServicerContext], Message]:
    def answer(data: bytes, _: grpc.ServicerContext) -> Message:
        return method.answer(service, parse(method.request, data))

    return answer


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
    raise Refusal(Reason.MALFORMED, "the call has no message")


def parse(kind: type[Message], data: bytes) -> Any:
    """Return a message from bytes.

    Raises:
        Refusal: if they are none of that kind, or have too many parts.
    """
    wire.check(kind, data)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Refusal(
            Reason.MALFORMED,
            f"the bytes are not a {kind.DESCRIPTOR.full_name}; is the caller's contract the same?",
        ) from error
