"""Callers who are waited for: that they send a message, or take an answer, ends at some time.

While nobody else needs a thread they have the whole time. When somebody does, who has been waited
for the longest makes room.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

# Between looks for those whose time is over, and how exact it is.
_LOOK_S = 0.05
# A message comes with its call, and an answer is taken at once, but where a network is between.
_LEAST_S = 0.1


class _Wait:
    """A block in which a caller is waited for; a class, as it is on the path of every call."""

    __slots__ = ("_waits", "cut_off", "most_s", "since")

    def __init__(
        self, waits: "dict[_Wait, None]", most_s: float, cut_off: Callable[[], object]
    ) -> None:
        self._waits = waits
        self.most_s = most_s
        self.cut_off = cut_off

    def __enter__(self) -> None:
        self.since = time.monotonic()
        self._waits[self] = None

    def __exit__(self, *_: object) -> None:
        self._waits.pop(self, None)


class Patience:
    """Ends what waits for callers for too long.

    Args:
        most_s: the most seconds that a caller is waited for.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        # In the order in which they began.
        self._waits: dict[_Wait, None] = {}
        # How many calls lack a thread because of those who wait; told by whoever has the threads.
        self.lacking: Callable[[], int] = lambda: 0
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="patience", daemon=True).start()

    def waiting(
        self, cut_off: Callable[[], object], most_s: float | None = None
    ) -> AbstractContextManager[object]:
        """Return a block in which a caller is waited for.

        Args:
            cut_off: makes the block end; or returns False, if nobody is waited for at the moment.
            most_s: the most seconds for this one, if not the usual ones.
        """
        return _Wait(self._waits, self._most_s if most_s is None else most_s, cut_off)

    def make_room(self) -> None:
        """Somebody needs a thread: have the one make room who has been waited for the longest.

        If nobody has been for long enough, somebody soon will have.
        """
        self._make_room(1)

    def _make_room(self, count: int) -> None:
        begun_before = time.monotonic() - _LEAST_S
        for wait in self._all():
            if count == 0 or wait.since > begun_before:
                return
            count -= self._end(wait)

    def close(self) -> None:
        """End no more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_S):
            if lacking := self.lacking():
                self._make_room(lacking)
            now = time.monotonic()
            for wait in self._all():
                if now - wait.since > wait.most_s:
                    self._end(wait)

    def _all(self) -> list[_Wait]:
        # One step of the interpreter: they change all the time, in other threads.
        return list(self._waits)

    def _end(self, wait: _Wait) -> bool:
        if wait.cut_off() is False:
            return False
        self._waits.pop(wait, None)
        return True
