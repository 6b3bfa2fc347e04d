"""The flow of one stream: a bounded number of items between being taken and being answered."""

import functools
import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Generic, TypeVar

import grpc

from face_embedding_server.rpc import admission
from face_embedding_server.rpc.admission import Admission

Answer = TypeVar("Answer")


class Stream(Generic[Answer]):
    """Connects the thread that takes items, those that answer them, and the one that sends.

    Iterating gives the answers in the order in which they are done, until every item that was taken
    is answered and no more come.

    Args:
        max_items: the most items in flight.
        max_bytes: the most bytes of all of them; one item alone may have more.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._answers: queue.SimpleQueue[tuple[Answer, int] | None] = queue.SimpleQueue()
        # Whether all items there are were taken.
        self.is_complete = False
        self._ended = False
        self._abandoned = False
        self._items = 0
        self._bytes = 0

    def take(self, size: int) -> bool:
        """Wait for room for one more item of so many bytes; return false if no more are taken."""
        with self._changed:
            while not (self._ended or self._has_room(size)):
                self._changed.wait()
            if self._ended:
                return False
            self._items += 1
            self._bytes += size
            return True

    def done(self, answer: Answer, size: int) -> None:
        """Hand over the answer to an item that was taken, which has so many bytes."""
        self._answers.put((answer, size))

    def end(self) -> None:
        """Take no more items."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._answers.put(None)

    def complete(self) -> None:
        """Take it that there are no more items."""
        self.is_complete = True
        self.end()

    def abandon(self) -> None:
        """Stop at once: nobody wants the answers any more."""
        self._abandoned = True
        self.end()

    def _has_room(self, size: int) -> bool:
        fits = self._items == 0 or self._bytes + size <= self._max_bytes
        return self._items < self._max_items and fits

    def __iter__(self) -> Iterator[Answer]:
        while not (self._abandoned or (self._ended and self._items == 0)):
            done = self._answers.get()
            if done is not None:
                answer, size = done
                yield answer
                # Only an answer that was sent makes room for another item.
                with self._changed:
                    self._items -= 1
                    self._bytes -= size
                    self._changed.notify()


def answers(
    requests: Iterator[bytes],
    context: grpc.ServicerContext,
    admitted: Admission,
    stream: Stream[Answer],
    begin: Callable[[bytes], None],
) -> Iterator[Answer]:
    """Yield the answers to the items of a call, as they are done.

    If the server stops, the items that were taken are answered; then the call ends with STOPPING if
    there may be more.

    Args:
        requests: the items.
        context: the call.
        admitted: asks the call to end if the server stops.
        stream: how many items may be in flight.
        begin: begins to answer an item, in a thread of this stream's own; what it gives to
            `stream.done` may come later and from any thread.
    """
    if not context.add_callback(stream.abandon):
        return  # The call is over already.

    was_asked_to_end = threading.Event()

    def end() -> None:
        was_asked_to_end.set()
        stream.end()

    with admitted.asked_to_end(end):
        read = functools.partial(copy_context().run, _read, requests, stream, begin)
        threading.Thread(target=read, daemon=True).start()
        yield from stream
    if was_asked_to_end.is_set() and not stream.is_complete:
        raise admission.stopping()


def _read(
    requests: Iterator[bytes], stream: Stream[Answer], begin: Callable[[bytes], None]
) -> None:
    """Take the items of a stream, as there is room, and begin to answer each."""
    try:
        for data in requests:
            if not stream.take(len(data)):
                return
            begin(data)
    except grpc.RpcError:
        stream.abandon()  # The caller is gone.
    except RuntimeError:
        stream.abandon()  # The server is gone, and with it the threads for faces.
    else:
        stream.complete()
