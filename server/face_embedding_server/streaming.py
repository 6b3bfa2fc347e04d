"""The flow of one stream: a bounded number of items between being taken and being answered."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Stream(Generic[Answer]):
    """Connects the thread that takes items, those that answer them, and the one that sends.

    Iterating gives the answers in the order in which they are done, until every item that was taken
    is answered and no more come.
    """

    def __init__(self, limit: int) -> None:
        self._room = threading.Semaphore(limit)
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = False
        self._abandoned = False
        self._taken = 0

    def take(self) -> bool:
        """Wait for room for one more item; return false if no more are to be taken."""
        self._room.acquire()
        with self._lock:
            self._taken += not self._ended
            return not self._ended

    def done(self, answer: Answer) -> None:
        """Hand over the answer to an item that was taken."""
        self._answers.put(answer)

    def end(self) -> None:
        """Take no more items."""
        with self._lock:
            self._ended = True
        self._wake()

    def abandon(self) -> None:
        """Stop at once: nobody wants the answers any more."""
        self._abandoned = True
        self.end()

    def _wake(self) -> None:
        self._room.release()
        self._answers.put(None)

    def __iter__(self) -> Iterator[Answer]:
        sent = 0
        while not (self._abandoned or (self._ended and sent == self._taken)):
            answer = self._answers.get()
            if answer is not None:
                yield answer
                # Only an answer that was sent makes room for another item.
                sent += 1
                self._room.release()
