"""The threads that take calls, and the queue before them.

gRPC hands each call over before any of its message is read, in the one thread that serves all
connections. Here it is decided at once: a call gets a thread in its turn, which goes round the
callers, or it is refused, as its answer would come too late. A refusal costs no thread, so that
a server with more calls than it can answer goes on answering as many as it can.

A call that only waits, for its message or for other threads, steps aside: it keeps its thread, and
another one takes the next call. So few threads compute at a time, and those who wait, as callers of
photographs do, keep nobody else from being answered.

What gRPC hands over is a function with arguments, and one of these knows the caller and the
deadline. gRPC does not promise that; without it all calls are of one caller.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc

from face_embedding_server.inference.fair import FairQueue
from face_embedding_server.rpc import ahead, methods, shares
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.rpc.shares import Share, ShareOf

# How much a new interval between ends of calls counts in the smoothed one.
_WEIGHT = 0.1
# An estimate of a wait may be wrong by so much, and the answer has to reach the caller.
_MARGIN = 2.0
_LEAST_WAIT_S = 0.05
_MOST_WAIT_S = 5.0

_log = logging.getLogger(__name__)

# The seconds after which to come again; none for a call that is not refused.
_REFUSED: ContextVar[float] = ContextVar("refused", default=0)


def come_again_s() -> float:
    """Return after how many seconds to try the current call again, if it is refused, otherwise 0.

    Such a call is run in gRPC's own thread: it has to end without waiting for anything.
    """
    return _REFUSED.get()


class Handlers(ThreadPoolExecutor):
    """Threads that take calls.

    Of threads, of those aside and of those who wait, a caller has at most as many as it leaves
    free.

    Args:
        size: how many calls are in work at a time.
        aside: how many more may step aside.
        waiting: how many more wait for a thread; others are refused.
        patience: how long threads wait for callers; less while all are taken.
        share_of: names the caller of a call.
        ahead: how many calls may have their message read before they have a thread; they have to
            be of methods that take one.
    """

    def __init__(
        self,
        size: int,
        aside: int,
        waiting: int,
        patience: Patience,
        share_of: ShareOf = shares.by_connection,
        ahead: int = 0,
    ) -> None:
        super().__init__(1)  # gRPC asks for one; its thread is never begun.
        self._share_of = share_of
        self.patience = patience
        self._size = size
        self._most_aside = aside
        self._most_waiting = waiting
        self._lock = threading.Lock()
        self._begun = 0
        self._running = 0
        self._aside = 0
        self._ahead = 0
        self._most_ahead = ahead
        self._waiting: FairQueue[_Call] = FairQueue()
        # How many more of these there are than signs.
        self._unsigned = 0
        self._callers: dict[Hashable, _Share] = {}
        self._pace = _Pace()
        # Those who wait, and have not found room to step aside.
        self._stuck: dict[_Call, None] = {}
        # What each thread works for.
        self._local = threading.local()
        # One whenever a call may be taken.
        self._signs: SimpleQueue[bool] = SimpleQueue()
        # It asks from now on, in a thread of its own.
        patience.lacking = self._lacking

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> "Future[Any]":
        """Take a call from gRPC; see `Executor`. Nothing is told by the future."""
        origin = self._origin(args)
        with self._lock:
            share = self._callers.get(origin.share.name) or _Share(origin.share.name)
            again_s = self._refuse(share, origin.deadline)
            if not again_s:
                self._callers[share.name] = share
                share.inside += 1
        if again_s:
            _end_at_once(fn, args, again_s)
            return _DONE
        may_be_ahead = origin.share.is_known and self._ahead < self._most_ahead
        is_ahead = may_be_ahead and ahead.begin(args)
        with self._lock:
            self._ahead += is_ahead
            self._waiting.put(_Call(fn, args, share, origin.deadline, is_ahead), share.name)
            self._begin_thread()
            is_full = self._is_full()
        self._signs.put(True)
        if is_full:
            self.patience.make_room()
        return _DONE

    def aside(self) -> AbstractContextManager[object]:
        """Return a block that waits, aside; in another thread than these it is as any other."""
        call: _Call | None = getattr(self._local, "call", None)
        return _Aside(self, call) if call else nullcontext()

    def step_aside(self, call: "_Call") -> None:
        """Have a call wait aside, now or once there is room."""
        with self._lock:
            self._stuck[call] = None
            self._let_step(call)

    def step_back(self, call: "_Call") -> None:
        """Have a call work again."""
        with self._lock:
            if call in self._stuck:
                del self._stuck[call]
                return
            self._step(call.share, -1)
            for each in list(self._stuck):
                self._let_step(each)

    def receive(self, data: Iterator[bytes], call: grpc.ServicerContext) -> bytes:
        """Return the only message of a call, which waits for it aside, and only so long.

        Raises:
            Refusal: if there is none.
        """
        if self._local.call.is_ahead:
            message = ahead.arrived(data)
            if message is not None:
                return message
            data = ahead.rest(data)
        with self.aside(), self.patience.waiting(call.cancel):
            return methods.only(data)

    @property
    def caller(self) -> Hashable:
        """What names the caller of the call that this thread, one of these, works for."""
        call: _Call = self._local.call
        return call.share.name

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        with self._lock:
            for _ in range(self._begun):
                self._signs.put(False)
        self.patience.close()

    def _origin(self, args: tuple[Any, ...]) -> "_Origin":
        try:
            event = args[1]
            return _Origin(self._share_of(event), event.call_details.deadline)
        except (IndexError, AttributeError):
            return _UNKNOWN

    def _step(self, share: "_Share", aside: int) -> None:
        self._aside += aside
        self._running -= aside
        share.aside += aside
        share.running -= aside

    def _let_step(self, call: "_Call") -> None:
        """Let a call step aside if its caller leaves as much room free."""
        if call.share.aside < self._most_aside - self._aside:
            del self._stuck[call]
            self._step(call.share, +1)
            if self._unsigned > 0:
                self._unsigned -= 1
                self._begin_thread()
                self._signs.put(True)

    def _is_full(self) -> bool:
        """Whether some have all threads only because they wait."""
        return self._running >= self._size and (
            bool(self._stuck) or self._aside >= self._most_aside
        )

    def _lacking(self) -> int:
        """Return how many calls would have a thread if others did not wait."""
        with self._lock:
            return len(self._waiting) if self._is_full() else 0

    def _begin_thread(self) -> None:
        """Begin one more thread if there is a call that none can take."""
        idle = self._begun - self._running - self._aside
        if idle < len(self._waiting) and self._running + idle < self._size:
            self._begun += 1
            threading.Thread(target=self._work, name="handler", daemon=True).start()

    def _work(self) -> None:
        while self._signs.get():
            call = self._take(by_sign=True)
            while call:
                self._local.call = call
                try:
                    if call.deadline < time.time():
                        call.fn(_REFUSED.set, _LEAST_WAIT_S)
                    call.fn(*call.args)
                except BaseException as error:  # The next call needs this thread.
                    _log.error("a call ended without a status", exc_info=error)
                finally:
                    self._local.call = None
                    self._ended(call)
                # One that was not taken at its sign, as none could be, or its caller had its share.
                call = self._take(by_sign=False)

    def _refuse(self, share: "_Share", deadline: float) -> float:
        """Return the seconds after which to come again; 0 if the call may wait here."""
        waiting = share.inside - share.running - share.aside
        wait_s = _MARGIN * self._wait_s(share, waiting)
        is_late = wait_s and time.time() + wait_s > deadline
        if is_late or waiting >= self._most_waiting - len(self._waiting):
            return min(max(wait_s, _LEAST_WAIT_S), _MOST_WAIT_S)
        return 0

    def _wait_s(self, share: "_Share", waiting: int) -> float:
        """Return how long a call of a caller that has so many waiting will take to its end."""
        if waiting and share.pace.usual_s:
            return share.pace.usual_s * share.inside
        if self._running < self._size:
            return 0
        return self._pace.usual_s * (self._running + waiting * len(self._callers))

    def _take(self, *, by_sign: bool) -> "_Call | None":
        """Take the next call whose caller may have one more thread."""
        with self._lock:
            self._unsigned += by_sign
            call = self._waiting.get(self._may_run) if self._running < self._size else None
            if call:
                self._unsigned -= 1
                self._running += 1
                call.share.running += 1
                self._ahead -= call.is_ahead
                self._pace.begun()
                call.share.pace.begun()
            return call

    def _may_run(self, name: Hashable) -> bool:
        running = self._callers[name].running
        return not running or running < self._size - self._running

    def _ended(self, call: "_Call") -> None:
        share = call.share
        with self._lock:
            self._running -= 1
            share.running -= 1
            share.inside -= 1
            self._pace.ended(goes_on=self._running > 0)
            share.pace.ended(goes_on=share.inside > 0)
            if not share.inside:
                del self._callers[share.name]


class _Aside:
    """A block that waits, aside if its call may; a class, as it is on the path of every call."""

    __slots__ = ("_call", "_handlers")

    def __init__(self, handlers: Handlers, call: "_Call") -> None:
        self._handlers = handlers
        self._call = call

    def __enter__(self) -> None:
        self._handlers.step_aside(self._call)

    def __exit__(self, *_: object) -> None:
        self._handlers.step_back(self._call)


class _Pace:
    """The usual time from the end of one call to that of the next, while there are any."""

    __slots__ = ("_since", "usual_s")

    def __init__(self) -> None:
        self.usual_s = 0.0
        self._since: float | None = None

    def begun(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def ended(self, *, goes_on: bool) -> None:
        now = time.monotonic()
        took_s = now - (now if self._since is None else self._since)
        usual_s = self.usual_s or took_s
        self.usual_s = usual_s + _WEIGHT * (took_s - usual_s)
        self._since = now if goes_on else None


class _Origin(NamedTuple):
    """The caller of a call, and its deadline in seconds since 1970."""

    share: Share
    deadline: float


_UNKNOWN = _Origin(Share(None, is_known=False), float("inf"))


@dataclass(eq=False, slots=True)
class _Share:
    """What a caller has here."""

    name: Hashable
    inside: int = 0
    running: int = 0
    aside: int = 0
    pace: _Pace = field(default_factory=_Pace)


@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """A call as gRPC handed it over."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    share: _Share
    deadline: float
    is_ahead: bool


def _end_at_once(fn: Callable[..., Any], args: tuple[Any, ...], again_s: float) -> None:
    # It is the function that runs others in the call's own context.
    fn(_REFUSED.set, again_s)
    fn(*args)


_DONE: "Future[Any]" = Future()
_DONE.set_result(None)
