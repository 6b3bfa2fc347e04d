"""The call that a thread works for: its id, its stages, and whether anyone still waits for it.

It is found through a context variable, so that what reads or embeds a face need not be told of it.
Whoever hands work to another thread runs it in a copy of the context. Where there is no call, as in
the command line's own runs, everything here does nothing.
"""

import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Protocol, TypeVar

from face_embedding_server.errors import Reason, Refusal

DECODE, DETECT, ALIGN, QUEUE, INFER, RESPOND = STAGES = (
    "decode",
    "detect",
    "align",
    "queue",
    "infer",
    "respond",
)


T = TypeVar("T")


class Sink(Protocol):
    """Takes what happens in calls."""

    def stage_took(self, stage: str, seconds: float) -> None:
        """Take the duration of one stage of one face."""

    def queue_changed(self, by: int) -> None:
        """Take that so many more faces, or fewer, wait for a thread."""

    def rejected(self, reason: str) -> None:
        """Take the reason why a request, or one face of it, was refused."""

    def embedded(self, model: str, norm: float) -> None:
        """Take that a face was embedded, and the norm of its raw embedding."""


class Tracer(Protocol):
    """Makes spans."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return a span that is a child of the call's."""

    def stage_took(self, name: str, seconds: float) -> None:
        """Make the span of a stage that ends now and took so long."""


class Caller(Protocol):
    """What gRPC knows of who waits for a call."""

    def is_active(self) -> bool:
        """Return whether they still wait."""

    def time_remaining(self) -> float | None:
        """Return the seconds until their deadline; None without one."""


class Call:
    """What is known of one call."""

    def __init__(
        self,
        request_id: str,
        caller: Caller,
        sink: Sink,
        tracer: Tracer | None,
        aside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.aside = aside
        self.request_id = request_id
        # Who calls, by name or by connection: nobody waits for all that another brought.
        self.by: object = ""
        # Those of the method that the caller has.
        self.permissions: frozenset[str] = frozenset()
        self.sink = sink
        self.tracer = tracer
        self._caller = caller

    def remaining_s(self) -> float | None:
        """Return the seconds until the caller gives up; None without a deadline."""
        remaining_s = self._caller.time_remaining()
        # Without a deadline gRPC says that there are centuries left.
        return None if remaining_s is None or remaining_s > threading.TIMEOUT_MAX else remaining_s

    def is_awaited(self, needed_s: float) -> bool:
        """Return whether anyone will still wait for the answer in so many seconds."""
        remaining_s = self._caller.time_remaining()
        return self._caller.is_active() and (remaining_s is None or remaining_s >= needed_s)


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)
_NOTHING = nullcontext()


def enter(call: Call) -> Token[Call | None]:
    """Make a call the current one, and return what to leave it with."""
    return _CALL.set(call)


def leave(token: Token[Call | None]) -> None:
    """Leave a call: its context must not hold what holds the context.

    Such a circle is only collected late, and gRPC refuses the calls of a connection while there are
    too many that are not gone.
    """
    _CALL.reset(token)


def request_id() -> str:
    """Return the id of the current call; empty if there is none."""
    call = _CALL.get()
    return call.request_id if call else ""


def may(permission: str) -> bool:
    """Return whether the current call's caller has one of the permissions that its method takes."""
    call = _CALL.get()
    return call is None or permission in call.permissions


def flow() -> tuple[object, ...]:
    """Return what the current call's faces queue as: its caller's, and among those the call's."""
    call = _CALL.get()
    return (call.by, id(call)) if call else ()


def stage(name: str) -> AbstractContextManager[object]:
    """Return a block whose duration is that of a stage of the current call."""
    call = _CALL.get()
    return _Stage(call, name) if call else _NOTHING


def queued() -> Callable[[float], None]:
    """Begin to wait for a turn, and return what is to be called when it has come.

    That takes the seconds that are needed from then on, and raises a `Refusal` if nobody waits for
    the answer any more, or not so long.
    """
    call = _CALL.get()
    if call is None:
        return lambda _: None
    since = time.perf_counter()
    call.sink.queue_changed(+1)

    def begin(needed_s: float) -> None:
        waited_s = time.perf_counter() - since
        call.sink.queue_changed(-1)
        call.sink.stage_took(QUEUE, waited_s)
        if call.tracer:
            call.tracer.stage_took(QUEUE, waited_s)
        if not call.is_awaited(needed_s):
            raise _abandoned()

    return begin


def remaining_s() -> float:
    """Return how long the current call may wait for anything, in seconds; -1 without a limit."""
    call = _CALL.get()
    remaining_s = call.remaining_s() if call else None
    return -1 if remaining_s is None else remaining_s


def result_of(future: "Future[T]") -> T:
    """Return what another thread found, for as long as the current call has.

    Raises:
        Refusal: if the call's deadline comes first.
    """
    call = _CALL.get()
    if call is None:
        return future.result()
    with call.aside():
        try:
            return future.result(call.remaining_s())
        except futures.TimeoutError:
            if future.done():
                raise
            raise _abandoned() from None


def _abandoned() -> Refusal:
    return Refusal(
        Reason.ABANDONED,
        "the deadline is too close, or the caller left, before it was the face's turn",
    )


def rejected(refusal: Refusal) -> None:
    """Tell that a request, or one face of it, is refused."""
    if call := _CALL.get():
        call.sink.rejected(refusal.reason.name)


def embedded(model: str, norm: float) -> None:
    """Tell that a face was embedded."""
    if call := _CALL.get():
        call.sink.embedded(model, norm)


class _Stage:
    """Measures a block; a class, as this is on the path of every face."""

    __slots__ = ("_call", "_name", "_since", "_span")

    def __init__(self, call: Call, name: str) -> None:
        self._call = call
        self._name = name
        self._span = call.tracer.stage(name) if call.tracer else None

    def __enter__(self) -> None:
        if self._span:
            self._span.__enter__()
        self._since = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call.sink.stage_took(self._name, time.perf_counter() - self._since)
        if self._span:
            self._span.__exit__(kind, error, traceback)
