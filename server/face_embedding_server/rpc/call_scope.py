"""A call's beginning and its end: its id, who calls, that it is counted, traced and logged.

What is raised within becomes the call's status here.
"""

import itertools
import logging
import re
import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc

from face_embedding_server import context
from face_embedding_server.context import Call
from face_embedding_server.rpc import status
from face_embedding_server.rpc.handlers import Handlers
from face_embedding_server.security.access import Access, Permission
from face_embedding_server.telemetry.metrics import CallMetrics, Metrics
from face_embedding_server.telemetry.tracing import CallTracer

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
# From a random number on: to ask the system for one for each call lets other threads in between.
_made_ids = itertools.count(secrets.randbits(63))
_MS = 1000
# What is not here is a mistake of the caller, or of nobody.
_LEVELS = {
    grpc.StatusCode.OK: logging.DEBUG,
    grpc.StatusCode.INTERNAL: logging.ERROR,
    grpc.StatusCode.UNKNOWN: logging.ERROR,
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MethodScope:
    """What the calls of a method have in common.

    Args:
        method: its full name, without the first slash.
        permissions: any of these is enough to call it; with none, everyone may.
        access: who may call what.
        pool: the threads that take its calls.
        metrics: what counts all that happens in calls.
        calls: what counts its own.
        tracer: traces them; None where nobody wants that.
    """

    method: str
    permissions: frozenset[Permission]
    access: Access
    pool: Handlers
    metrics: Metrics
    calls: CallMetrics
    tracer: CallTracer | None


class CallScope:
    """A block in which a call is answered; a class, as it is on the path of every call."""

    __slots__ = ("_call", "_caller", "_of", "_since", "_span", "_span_block", "_token")

    def __init__(self, of_method: MethodScope, call: grpc.ServicerContext) -> None:
        self._of = of_method
        self._call = call
        self._caller = ""

    def __enter__(self) -> None:
        """Begin, and let the call in or not."""
        self._since = time.perf_counter()
        of, call = self._of, self._call
        request_id = name_call(call)
        of.calls.began()
        entered = Call(request_id, call, of.metrics, of.tracer, of.pool.aside)
        self._token = context.enter(entered)
        self._span_block = self._traced(request_id)
        self._span = self._span_block.__enter__()
        try:
            known = of.access.check(of.permissions, call)
        except Exception as error:
            self._end(error)
            raise
        self._caller, entered.permissions = known.name, known.permissions
        entered.by = of.pool.caller

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        failed = isinstance(error, Exception)
        try:
            # A call is ended already where a handler of gRPC's own did that; and where its caller
            # left while a message was awaited, as gRPC knows.
            if (
                isinstance(error, Exception)
                and not isinstance(error, grpc.RpcError)
                and not _said(self._call)
            ):
                status.abort(self._call, status.report(error))
        finally:
            code = _code(self._call, grpc.StatusCode.UNKNOWN if failed else grpc.StatusCode.OK)
            took_s = time.perf_counter() - self._since
            of = self._of
            of.calls.ended(code.name, took_s)
            if of.tracer:
                of.tracer.end(self._span, code)
            level = _LEVELS.get(code, logging.INFO)
            if _log.isEnabledFor(level):
                _log_end(level, of.method, code, took_s, self._caller, self._call)
            self._span_block.__exit__(None, None, None)
            context.leave(self._token)

    def _traced(self, request_id: str) -> AbstractContextManager[Any]:
        of = self._of
        if of.tracer is None:
            return _NO_SPAN
        return of.tracer.call(of.method, request_id, self._call.invocation_metadata())


_NO_SPAN = nullcontext()


def name_call(call: grpc.ServicerContext) -> str:
    """Give a call its caller's id, if they sent one that can be logged, or a new one; return it."""
    request_id = _request_id(call)
    call.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
    return request_id


def _request_id(call: grpc.ServicerContext) -> str:
    for key, value in call.invocation_metadata():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return f"{next(_made_ids):016x}"


def _said(call: grpc.ServicerContext) -> grpc.StatusCode | None:
    code: grpc.StatusCode | None = call.code()  # type: ignore[attr-defined]  # The stub lacks it.
    return code


def _code(call: grpc.ServicerContext, unless_said: grpc.StatusCode) -> grpc.StatusCode:
    """Return the status of a call that ends, which gRPC does not say where the caller left."""
    if code := _said(call):
        return code
    remaining_s: float | None = call.time_remaining()
    if remaining_s is not None and remaining_s <= 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return unless_said if call.is_active() else grpc.StatusCode.CANCELLED


def _log_end(
    level: int,
    method: str,
    code: grpc.StatusCode,
    took_s: float,
    caller: str,
    call: grpc.ServicerContext,
) -> None:
    facts = {"method": method, "code": code.name, "ms": round(_MS * took_s, 3)}
    facts |= {"caller": caller, "peer": call.peer()}
    if details := call.details():  # type: ignore[attr-defined]  # The stub lacks it.
        # With what the caller wrote in it: as it stands, but for what could forge a line.
        text = details.decode("utf-8", "replace") if isinstance(details, bytes) else str(details)
        facts["details"] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    _log.log(level, "call ended", extra=facts)
