"""A queue that goes round those who wait in it, so that nobody waits for all that another brought.

Source: RFC 8290 (FlowQueue-CoDel), section 4.2: those who come anew are served before those who
have waited for long, once, so that whoever asks for little waits for little.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


def everyone(_: Hashable) -> bool:
    """Let everyone have their turn."""
    return True


class FairQueue(Generic[T]):
    """Gives back what is put in, one of each flow after the other, and in order within a flow.

    A flow is named by the parts of a path, such as the caller and the call: it goes round the
    callers, and for each of them round their calls. It has no lock.
    """

    def __init__(self) -> None:
        self._flows: dict[Hashable, FairQueue[T]] = {}
        self._new: deque[Hashable] = deque()
        self._old: deque[Hashable] = deque()
        self._items: deque[T] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, item: T, *path: Hashable) -> None:
        """Add an item to the end of a flow."""
        self._size += 1
        if not path:
            self._items.append(item)
            return
        first, *rest = path
        flow = self._flows.get(first)
        if flow is None:
            flow = self._flows[first] = FairQueue()
            self._new.append(first)
        flow.put(item, *rest)

    def get(self, may: Callable[[Hashable], bool] = everyone) -> T | None:
        """Take out the next item; None if there is none.

        Args:
            may: whether it can be the turn of a flow, by the first part of its name.
        """
        if self._items:
            self._size -= 1
            return self._items.popleft()
        for ring in (self._new, self._old):
            for _ in range(len(ring)):
                name = ring.popleft()
                flow = self._flows[name]
                if not flow:
                    del self._flows[name]
                elif may(name):
                    # It keeps its place among the old ones for a round, or could always be new.
                    self._old.append(name)
                    self._size -= 1
                    return flow.get()
                else:
                    ring.append(name)
        return None
