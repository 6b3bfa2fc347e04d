"""The health service, `grpc.health.v1`: it answers whatever the callers of other methods do.

Callers of its own who stay silent are cut off, at once where others need their threads.

It is gRPC's contract with a servicer of our own. The one in grpcio-health-checking sends under a
lock that its completion thread needs too, so that a caller who closes or does not read can stop the
server; and it keeps every name that it was ever asked for.

Source: `grpc/doc/health-checking.md`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.inference import threads
from face_embedding_server.rpc import methods
from face_embedding_server.rpc.handlers import Handlers, come_again_s
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.rpc.status import abort, turn_away

NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_WHOLE_SERVER = ""

# A message has nothing but the name of a service.
MOST_BYTES = 1024

_Send: TypeAlias = Callable[[health_pb2.HealthCheckResponse], None]


def tell_nobody(_: bool) -> None:
    """Leave it to whoever asks whether it serves."""


class Health:
    """Knows whether the server serves, and tells who asks and who watches.

    A watcher holds no thread, and nothing is sent under a lock.

    Args:
        services: the full names of the services it is asked about, beside the server as a whole.
        patience_s: seconds after which a caller is cut off who does not send or take a message.
        tell: called whenever that changes, with whether it serves.
    """

    def __init__(
        self,
        services: Sequence[str],
        patience_s: float,
        tell: Callable[[bool], None] = tell_nobody,
    ) -> None:
        self._tell = tell
        self._names = frozenset((_WHOLE_SERVER, *services))
        self._patience_s = patience_s
        self._pools: list[Handlers] = []
        # With those who are told what they watch.
        self._patience = Patience(patience_s)
        self._status: int = NOT_SERVING
        self._lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._changes = ThreadPoolExecutor(threads.HEALTH, "health changes")

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service in the form that a server takes, with threads for one server."""
        check, watch = self._check, self._watch
        # Apart, so that who watches takes no thread from who asks.
        checks, watches = self._handlers(), self._handlers()
        self._pools += [checks, watches]

        def checked(data: Iterator[bytes], context: grpc.ServicerContext) -> object:
            return check(self._asked_name(data, context, checks), context)

        def watched(data: Iterator[bytes], context: grpc.ServicerContext, send: _Send) -> None:
            watch(self._asked_name(data, context, watches), context, send)

        checked.experimental_thread_pool = checks  # type: ignore[attr-defined]  # gRPC's.
        watched.experimental_thread_pool = watches  # type: ignore[attr-defined]  # gRPC's.
        # It is given a function to answer with, also after it has returned.
        watched.experimental_non_blocking = True  # type: ignore[attr-defined]  # gRPC's.
        # Both begin before there is a message, so that the wait for it can be cut short.
        handlers: dict[str, grpc.RpcMethodHandler[bytes, Any]] = {
            "Check": grpc.stream_unary_rpc_method_handler(
                checked, response_serializer=methods.serialize
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(
                watched, response_serializer=methods.serialize
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, handlers)

    def close(self) -> None:
        """Let the threads end."""
        for handlers in self._pools:
            handlers.close()
        self._patience.close()
        self._changes.shutdown(wait=False)

    @property
    def is_serving(self) -> bool:
        """Whether the server serves."""
        return self._status == SERVING

    def set(self, status: int) -> None:
        """Say whether the server serves, and have all who watch be told; waits for none of them."""
        with self._lock:
            has_changed = status != self._status
            self._status = status
            watchers = list(self._watchers)
        if has_changed:
            self._tell(self.is_serving)
        for watcher in watchers:
            self._changes.submit(watcher.tell)

    def _check(self, name: str, context: grpc.ServicerContext) -> object:
        if name not in self._names:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return health_pb2.HealthCheckResponse(status=self._status)

    def _watch(self, name: str, context: grpc.ServicerContext, send: _Send) -> None:
        if name not in self._names:
            # The names are all known from the beginning: this will never change.
            _Watcher(lambda: _UNKNOWN, send, context, self._patience).tell()
            return
        watcher = _Watcher(lambda: self._status, send, context, self._patience)
        with self._lock:
            self._watchers.add(watcher)
        if context.add_callback(lambda: self._forget(watcher)):
            watcher.tell()
        else:
            self._forget(watcher)  # The call is over already.

    def _forget(self, watcher: "_Watcher") -> None:
        with self._lock:
            self._watchers.discard(watcher)

    def _handlers(self) -> Handlers:
        return Handlers(
            threads.HEALTH, threads.HEALTH_ASIDE, threads.WAITING, Patience(self._patience_s)
        )

    def _asked_name(
        self, data: Iterator[bytes], context: grpc.ServicerContext, handlers: Handlers
    ) -> str:
        if again_s := come_again_s():
            turn_away(context, again_s)
        try:
            message = handlers.receive(data, context)
            if len(message) > MOST_BYTES:
                raise Refusal(Reason.MALFORMED, f"no name of a service has {len(message)} bytes")
            return str(methods.parse(health_pb2.HealthCheckRequest, message).service)
        except Refusal as refusal:
            abort(context, refusal)


class _Watcher:
    """Tells one caller the status whenever it is another than the last one told."""

    def __init__(
        self,
        status: Callable[[], int],
        send: _Send,
        context: grpc.ServicerContext,
        patience: Patience,
    ) -> None:
        self._status = status
        self._send = send
        self._context = context
        self._patience = patience
        self._lock = threading.Lock()
        self._told: int | None = None
        self._is_telling = False

    def tell(self) -> None:
        """Tell the status as it is now; return at once if another thread is about to."""
        with self._lock:
            if self._is_telling:
                return
            self._is_telling = True
        while self._has_news():
            with self._patience.waiting(self._context.cancel):
                self._send(health_pb2.HealthCheckResponse(status=self._told))

    def _has_news(self) -> bool:
        with self._lock:
            status = self._status()
            self._is_telling = status != self._told
            self._told = status
            return self._is_telling
