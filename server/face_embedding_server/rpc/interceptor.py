"""What every call passes on its way to its method, whichever it is.

Nothing of its message is read before it is let in.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import grpc

from face_embedding_server.rpc import call_scope, handlers, health, methods, status
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.call_scope import CallScope, MethodScope
from face_embedding_server.rpc.handlers import Handlers
from face_embedding_server.rpc.methods import AnyMethod
from face_embedding_server.security.access import Access, Permission
from face_embedding_server.telemetry.metrics import CallKind, Metrics
from face_embedding_server.telemetry.tracing import CallTracer

# Between two lines in the log on calls that are refused because there are too many.
_TELL_S = 1.0
# Health has threads of its own, and is neither counted nor logged: probes ask all the time.
_HEALTH_PREFIX = f"/{health.NAME}/"

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
        of = self._scope(method, rules, "stream" if handler.response_streaming else "unary")
        if handler.response_streaming:

            def stream(data: Iterator[bytes], call: grpc.ServicerContext) -> Iterator[Any]:
                self._turn_away_if_refused(of, call)
                with CallScope(of, call), self._admitted(rules, 0):
                    yield from answer(data, call)

            stream.experimental_thread_pool = of.pool  # type: ignore[attr-defined]  # gRPC's.
            return grpc.stream_stream_rpc_method_handler(
                stream, response_serializer=handler.response_serializer
            )

        def unary(data: Iterator[bytes], call: grpc.ServicerContext) -> Any:
            self._turn_away_if_refused(of, call)
            with CallScope(of, call):
                # A stop does not wait for callers who have not sent anything.
                message = of.pool.receive(data, call)
                with self._admitted(rules, len(message)):
                    return answer(message, call)

        unary.experimental_thread_pool = of.pool  # type: ignore[attr-defined]  # gRPC's.
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

    def _scope(self, method: str, rules: _Rules, kind: CallKind) -> MethodScope:
        if kind == "stream":
            pool = self._pools.streams
        else:
            pool = self._pools.unary if rules.permissions else self._pools.open
        return MethodScope(
            method,
            rules.permissions,
            self._access,
            pool,
            self._metrics,
            self._metrics.calls(kind, method),
            self._tracer,
        )

    def _turn_away_if_refused(self, of: MethodScope, call: grpc.ServicerContext) -> None:
        """End a call that was refused before it got a thread."""
        if again_s := handlers.come_again_s():
            of.calls.refused()
            self._turned_away += 1
            now = time.monotonic()
            if now > self._told + _TELL_S:  # A line for each would make it worse.
                _log.warning(
                    "more calls than can be answered in time",
                    extra={"refused": self._turned_away, "method": of.method},
                )
                self._told, self._turned_away = now, 0
            call_scope.name_call(call)
            status.turn_away(call, again_s)

    def _admitted(self, rules: _Rules, size: int) -> AbstractContextManager[object]:
        return self._admission.admitted(size) if rules.admitted else nullcontext()


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
