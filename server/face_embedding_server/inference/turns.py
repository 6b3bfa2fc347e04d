"""Turns at an engine: how many faces are inside it at a time, and in which order."""

import math
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from face_embedding_server import context
from face_embedding_server.inference.fair import FairQueue

P = ParamSpec("P")
T = TypeVar("T")

# How much a new duration counts in the smoothed one.
_WEIGHT = 0.1
# One that takes longer than so many times the usual was held up, which says nothing of the next.
_MOST = 4
# A turn may take a little longer than turns do, and its answer has to reach the caller.
_MARGIN = 1.25


class Turns:
    """Lets a bounded number of faces into an engine, and goes round the callers and their calls.

    More of them inside would not make it faster, and inside a face can no longer be given up. Under
    more load than the engine can bear, one whose answer would come too late is given up for one
    whose answer will not: otherwise all would be late.

    Args:
        limit: the most faces inside.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        # How many faces are inside, how many came out, and how many of these failed in a row.
        self.inside = 0
        self.ended = 0
        self.failures = 0
        self._limit = limit
        self._waiting: FairQueue[_Turn] = FairQueue()
        self._usual_s = 0.0

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function when it is its turn, in the calling thread.

        Raises:
            Refusal: if the caller of the current call left meanwhile, or its deadline is too close.
        """
        self._take()
        since = time.perf_counter()
        failures = self.failures + 1
        try:
            result = work(*args, **kwargs)
            failures = 0
            return result
        finally:
            self._took(time.perf_counter() - since)
            self.failures = failures
            self.ended += 1
            self._pass_on()

    def _took(self, seconds: float) -> None:
        """Learn how long a turn takes."""
        usual_s = self._usual_s or seconds
        self._usual_s = usual_s + _WEIGHT * (min(seconds, _MOST * usual_s) - usual_s)

    def _take(self) -> None:
        with self._lock:
            if self.inside < self._limit:
                self.inside += 1
                return
            turn = _Turn()
            self._waiting.put(turn, *context.flow())
        begin = context.queued()
        has_come = turn.come.acquire(timeout=context.remaining_s())
        with self._lock:
            turn.is_awaited = False
            has_come = has_come or turn.has_come
        try:
            begin(_MARGIN * self._usual_s if has_come else math.inf)
        except BaseException:
            if has_come:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the turn to the next who waits: nobody who comes now gets ahead of them."""
        with self._lock:
            while turn := self._waiting.get():
                if turn.is_awaited:
                    turn.has_come = True
                    turn.come.release()
                    return
            self.inside -= 1


class _Turn:
    """The turn of one face that waits for it."""

    __slots__ = ("come", "has_come", "is_awaited")

    def __init__(self) -> None:
        self.come = threading.Lock()
        self.come.acquire()
        self.has_come = False
        self.is_awaited = True
