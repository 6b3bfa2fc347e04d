"""The edge of the server: what every call passes before a method is run, and after.

A call gets an id, is let in or not, and is counted, traced and logged. Nothing of its message is
parsed before it is let in.
"""

import functools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server import answering, calls, health
from face_embedding_server.access import Access, Permission, permissions_of
from face_embedding_server.errors import Refusal
from face_embedding_server.telemetry import current
from face_embedding_server.telemetry.current import Call
from face_embedding_server.telemetry.metrics import CallKind, Metrics
from face_embedding_server.telemetry.tracing import CallTracer

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_MADE_ID_BYTES = 8
_MS = 1000
# Health has threads of its own, and is neither counted nor logged: probes ask all the time.
_HEALTH_PREFIX = f"/{health.NAME}/"
# What is not here is a mistake of the caller, or of nobody.
_LEVELS = {
    grpc.StatusCode.OK: logging.DEBUG,
    grpc.StatusCode.INTERNAL: logging.ERROR,
    grpc.StatusCode.UNKNOWN: logging.ERROR,
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pools:
    """Threads beside those of the server.

    Args:
        streams: for calls that answer with a stream.
        open: for calls that need no permission.
    """

    streams: ThreadPoolExecutor
    open: ThreadPoolExecutor


class Edge(grpc.ServerInterceptor):
    """Wraps the handlers of all services.

    Args:
        access: who may call what.
        metrics: counts the calls.
        tracer: traces them; None where nobody wants that.
        pools: threads for calls that are not to take those of others.
    """

    def __init__(
        self,
        access: Access,
        metrics: Metrics,
        tracer: CallTracer | None,
        pools: Pools,
    ) -> None:
        self._access = access
        self._pools = pools
        self._metrics = metrics
        self._tracer = tracer
        self._wrapped: dict[str, Any] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler of a call, or none if the server has no such method."""
        method = handler_call_details.method
        if wrapped := self._wrapped.get(method):
            return wrapped
        handler = continuation(handler_call_details)
        if handler is None:
            self._metrics.call_unknown()
            return None
        if method.startswith(_HEALTH_PREFIX):
            return handler
        wrapped = self._wrapped[method] = self._wrap(method.removeprefix("/"), handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        """Return a handler that takes a stream of bytes and does the same within a call.

        It takes a stream also where one message is expected, since only then it begins before the
        message is there: who is not let in waits for nothing. And it parses requests itself: a
        server of grpcio that fails to parse an item of a stream can never be stopped again.
        """
        permissions = permissions_of(method)
        parse = functools.partial(_parsed, handler.request_deserializer)
        take = functools.partial(map, parse) if handler.request_streaming else _only(parse)
        if handler.response_streaming:
            answer_all = handler.stream_stream or handler.unary_stream

            def stream(data: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
                with self._call("stream", method, permissions, context):
                    yield from answer_all(take(data), context)

            # A caller who leaves streams open takes no thread from other calls.
            stream.experimental_thread_pool = self._pools.streams  # type: ignore[attr-defined]  # gRPC's.
            return grpc.stream_stream_rpc_method_handler(
                stream, response_serializer=handler.response_serializer
            )
        answer = handler.stream_unary or handler.unary_unary

        def unary(data: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            with self._call("unary", method, permissions, context):
                return answer(take(data), context)

        def open_unary(data: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            with calls.cut_off_after(calls.PATIENCE_S, context):
                return unary(data, context)

        # Whoever leaves these open, and everyone may, takes no thread from other calls.
        open_unary.experimental_thread_pool = self._pools.open  # type: ignore[attr-defined]  # gRPC's.
        return grpc.stream_unary_rpc_method_handler(
            unary if permissions else open_unary, response_serializer=handler.response_serializer
        )

    @contextmanager
    def _call(
        self,
        kind: CallKind,
        method: str,
        permissions: frozenset[Permission],
        context: grpc.ServicerContext,
    ) -> Iterator[None]:
        since = time.perf_counter()
        request_id = _request_id(context)
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        self._metrics.call_began(kind)
        call = Call(request_id, context, self._metrics, self._tracer)
        caller, unless_said = "", grpc.StatusCode.OK
        with current.entered(call), self._span(method, request_id, context) as span:
            try:
                caller = self._access.check(permissions, context)
                yield
            except Refusal as refusal:
                current.rejected(refusal)
                answering.abort(context, refusal)
            except Exception:
                unless_said = grpc.StatusCode.UNKNOWN
                raise
            finally:
                code = _code(context, unless_said)
                took = time.perf_counter() - since
                self._metrics.call_ended(kind, method, code.name, took)
                if span and self._tracer:
                    self._tracer.end(span, code)
                _log_end(method, code, took, caller, context)

    def _span(
        self, method: str, request_id: str, context: grpc.ServicerContext
    ) -> AbstractContextManager[Any]:
        if self._tracer is None:
            return nullcontext()
        return self._tracer.call(method, request_id, context.invocation_metadata())


def _only(parse: Callable[[bytes], Any]) -> Callable[[Iterator[bytes]], Any]:
    """Return what takes the only message of a call."""
    return lambda data: parse(answering.only(data))


def _parsed(deserialize: Callable[[bytes], Any] | None, data: bytes) -> Any:
    """Return a request; the project's own methods parse theirs themselves."""
    if deserialize is None:
        return data
    try:
        return deserialize(data)
    except DecodeError as error:
        raise Refusal(
            pb.ERROR_REASON_MALFORMED, "the bytes are not what this method takes"
        ) from error


def _request_id(context: grpc.ServicerContext) -> str:
    """Return the caller's id of the call, if they sent one that can be logged, or a new one."""
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(_MADE_ID_BYTES)


def _code(context: grpc.ServicerContext, unless_said: grpc.StatusCode) -> grpc.StatusCode:
    """Return the status of a call that ends, which gRPC does not say where the caller left."""
    code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]  # The stub lacks it.
    if code:
        return code
    remaining_s: float | None = context.time_remaining()
    if remaining_s is not None and remaining_s <= 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return unless_said if context.is_active() else grpc.StatusCode.CANCELLED


def _log_end(
    method: str, code: grpc.StatusCode, took_s: float, caller: str, context: grpc.ServicerContext
) -> None:
    level = _LEVELS.get(code, logging.INFO)
    if not _log.isEnabledFor(level):
        return
    facts = {"method": method, "code": code.name, "ms": round(_MS * took_s, 3)}
    facts |= {"caller": caller, "peer": context.peer()}
    if details := context.details():  # type: ignore[attr-defined]  # The stub lacks it.
        # With what the caller wrote in it: as it stands, but for what could forge a line.
        text = details.decode("utf-8", "replace") if isinstance(details, bytes) else str(details)
        facts["details"] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    _log.log(level, "call ended", extra=facts)
