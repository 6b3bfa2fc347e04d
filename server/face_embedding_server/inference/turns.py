"""Turns at an engine: how many faces are inside it at a time, and in which order."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from face_embedding_server import context

P = ParamSpec("P")
T = TypeVar("T")

# How much a new duration counts in the smoothed one.
_WEIGHT = 0.1
# One that takes longer than so many times the usual was held up, which says nothing of the next.
_MOST = 4
# A turn may take a little longer than turns do, and its answer has to reach the caller.
_MARGIN = 1.25


class Turns:
    """Lets a bounded number of faces into an engine, in the order in which they came.

    More of them inside would not make it faster, and inside a face can no longer be given up. Under
    more load than the engine can bear, one whose answer would come too late is given up for one
    whose answer will not: otherwise all would be late.

    Args:
        limit: the most faces inside.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        self._waiting: deque[threading.Lock] = deque()
        self._usual_s = 0.0

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function when it is its turn, in the calling thread.

        Raises:
            Refusal: if the caller of the current call left meanwhile, or its deadline is too close.
        """
        self._take()
        since = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self._took(time.perf_counter() - since)
            self._pass_on()

    def _took(self, seconds: float) -> None:
        """Learn how long a turn takes."""
        usual_s = self._usual_s or seconds
        self._usual_s = usual_s + _WEIGHT * (min(seconds, _MOST * usual_s) - usual_s)

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        begin = context.queued()
        turn.acquire()
        try:
            begin(_MARGIN * self._usual_s)
        except BaseException:
            self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the turn to the next who waits: nobody who comes now gets ahead of them."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
