"""What every call passes before its method is run, and after: the one beginning and the one end.

A call gets an id, is let in or not, and is counted, traced and logged. Nothing of its message is
read before it is let in, and what it raises becomes its status here.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import grpc

from face_embedding_server import context
from face_embedding_server.context import Call
from face_embedding_server.rpc import handlers, health, methods, status
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.handlers import Handlers
from face_embedding_server.rpc.methods import AnyMethod
from face_embedding_server.security.access import Access, Permission
from face_embedding_server.telemetry.metrics import CallKind, Metrics
from face_embedding_server.telemetry.tracing import CallTracer

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_MADE_ID_BYTES = 8
_MS = 1000
# Between two lines in the log on calls that are refused because there are too many.
_TELL_S = 1.0
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
    """The threads that take calls, apart so that no kind takes those of another.

    Args:
        unary: for calls that answer with one message.
        streams: for calls that answer with a stream.
        open: for calls that need no permission.
    """

    unary: Handlers
    streams: Handlers
    open: Handlers


@dataclass(frozen=True)
class _Rules:
    """What a method asks of its calls."""

    permissions: frozenset[Permission]
    admitted: bool


class Interceptor(grpc.ServerInterceptor):
    """Wraps the handlers of all services.

    Args:
        services: the methods of the project's own services, by the service's full name.
        access: who may call what.
        admission: lets calls in while the server does not stop.
        metrics: counts the calls.
        tracer: traces them; None where nobody wants that.
        pools: threads for calls that are not to take those of others.
    """

    def __init__(
        self,
        services: Mapping[str, Sequence[AnyMethod]],
        access: Access,
        admission: Admission,
        metrics: Metrics,
        tracer: CallTracer | None,
        pools: Pools,
    ) -> None:
        self._rules = {
            f"{service}/{method.name}": _Rules(method.permissions, method.admitted)
            for service, table in services.items()
            for method in table
        }
        self._access = access
        self._admission = admission
        self._pools = pools
        self._metrics = metrics
        self._tracer = tracer
        self._wrapped: dict[str, Any] = {}
        self._turned_away = 0
        self._told = 0.0

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
        """Return a handler that does the same within a call, and takes a stream of bytes.

        It takes a stream also where one message is expected: only then a call begins before the
        message is there, so that who is not let in waits for nothing.
        """
        rules = self._rules.get(method)
        if rules is None:
            rules = _Rules(methods.FOREIGN.get(method, methods.DEBUG), admitted=False)
            handler = _taking_bytes(handler, self._patiently)
        answer = handler.stream_stream or handler.unary_unary
        pool = self._pool(rules, streaming=handler.response_streaming)
        if handler.response_streaming:

            def stream(data: Iterator[bytes], call: grpc.ServicerContext) -> Iterator[Any]:
                self._turn_away_if_refused(method, call)
                with self._call("stream", method, rules, pool, call), self._admitted(rules, 0):
                    yield from answer(data, call)

            stream.experimental_thread_pool = pool  # type: ignore[attr-defined]  # gRPC's.
            return grpc.stream_stream_rpc_method_handler(
                stream, response_serializer=handler.response_serializer
            )

        def unary(data: Iterator[bytes], call: grpc.ServicerContext) -> Any:
            self._turn_away_if_refused(method, call)
            with self._call("unary", method, rules, pool, call):
                # A stop does not wait for callers who have not sent anything.
                message = pool.receive(data, call)
                with self._admitted(rules, len(message)):
                    return answer(message, call)

        unary.experimental_thread_pool = pool  # type: ignore[attr-defined]  # gRPC's.
        return grpc.stream_unary_rpc_method_handler(
            unary, response_serializer=handler.response_serializer
        )

    def _patiently(self, data: Iterator[bytes], call: grpc.ServicerContext) -> Iterator[bytes]:
        """Yield the messages of a stream, whose caller is waited for only so long."""
        while True:
            with self._pools.streams.patience.waiting(call.cancel, self._admission.idle_s):
                message = next(data, None)
            if message is None:
                return
            yield message

    def _pool(self, rules: _Rules, *, streaming: bool) -> Handlers:
        if streaming:
            return self._pools.streams
        return self._pools.unary if rules.permissions else self._pools.open

    def _turn_away_if_refused(self, method: str, call: grpc.ServicerContext) -> None:
        """End a call that was refused before it got a thread."""
        if again_s := handlers.come_again_s():
            self._metrics.call_refused(method)
            self._turned_away += 1
            now = time.monotonic()
            if now > self._told + _TELL_S:  # A line for each would make it worse.
                _log.warning(
                    "more calls than can be answered in time",
                    extra={"refused": self._turned_away, "method": method},
                )
                self._told, self._turned_away = now, 0
            call.set_trailing_metadata(((REQUEST_ID_KEY, _request_id(call)),))
            status.turn_away(call, again_s)

    @contextmanager
    def _call(
        self, kind: CallKind, method: str, rules: _Rules, pool: Handlers, call: grpc.ServicerContext
    ) -> Iterator[None]:
        since = time.perf_counter()
        request_id = _request_id(call)
        call.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        self._metrics.call_began(kind)
        entered = Call(request_id, call, self._metrics, self._tracer, pool.aside)
        caller, unless_said = "", grpc.StatusCode.OK
        with context.entered(entered), self._span(method, request_id, call) as span:
            try:
                known = self._access.check(rules.permissions, call)
                caller, entered.permissions = known.name, known.permissions
                entered.by = pool.caller
                yield
            except grpc.RpcError:
                unless_said = grpc.StatusCode.UNKNOWN
                raise  # The caller left while a message was awaited, as gRPC knows.
            except Exception as error:
                if call.code():  # type: ignore[attr-defined]  # The stub lacks it.
                    raise  # It is ended already, by a handler of gRPC's own.
                unless_said = grpc.StatusCode.UNKNOWN
                status.abort(call, status.report(error))
            finally:
                code = _code(call, unless_said)
                took = time.perf_counter() - since
                self._metrics.call_ended(kind, method, code.name, took)
                if span and self._tracer:
                    self._tracer.end(span, code)
                _log_end(method, code, took, caller, call)

    def _admitted(self, rules: _Rules, size: int) -> AbstractContextManager[None]:
        return self._admission.admitted(size) if rules.admitted else nullcontext()

    def _span(
        self, method: str, request_id: str, call: grpc.ServicerContext
    ) -> AbstractContextManager[Any]:
        if self._tracer is None:
            return nullcontext()
        return self._tracer.call(method, request_id, call.invocation_metadata())


def _taking_bytes(
    handler: Any, patiently: Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]
) -> Any:
    """Return a handler of gRPC's own, of a stream or of one message, as one that takes bytes."""
    parsed = handler.request_deserializer
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(
            lambda data, call: handler.stream_stream(map(parsed, patiently(data, call)), call),
            response_serializer=handler.response_serializer,
        )
    return grpc.unary_unary_rpc_method_handler(
        lambda data, call: handler.unary_unary(parsed(data), call),
        response_serializer=handler.response_serializer,
    )


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
