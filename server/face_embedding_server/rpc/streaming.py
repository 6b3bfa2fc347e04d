"""The flow of one stream: a bounded number of items between being taken and being answered."""

import functools
import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Generic, TypeVar

import grpc

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.rpc import admission
from face_embedding_server.rpc.admission import Admission

Answer = TypeVar("Answer")


class Stream(Generic[Answer]):
    """Connects the thread that takes items, those that answer them, and the one that sends.

    Iterating gives the answers in the order in which they are done, each with the size of its item,
    until every item that was taken is answered and no more come.

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
        self.refusal: Refusal | None = None

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

    def refuse_if_idle(self) -> bool:
        """End the stream if its caller awaits nothing; return whether that is so."""
        with self._changed:
            if self._items:
                return False
        self.refusal = Refusal(
            Reason.CALLER_SILENT, "nothing came on this stream for too long; open another one"
        )
        self.abandon()
        return True

    @property
    def bytes_in_flight(self) -> int:
        """How many bytes the items have that were taken and are not answered."""
        with self._changed:
            return self._bytes

    def _has_room(self, size: int) -> bool:
        fits = self._items == 0 or self._bytes + size <= self._max_bytes
        return self._items < self._max_items and fits

    def __iter__(self) -> Iterator[tuple[Answer, int]]:
        while not (self._abandoned or (self._ended and self._items == 0)):
            done = self._answers.get()
            if done is not None:
                yield done
                # Only an answer that was sent makes room for another item.
                with self._changed:
                    self._items -= 1
                    self._bytes -= done[1]
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

    patience = admitted.patience
    with admitted.asked_to_end(end):
        read = functools.partial(copy_context().run, _read, requests, admitted, stream, begin)
        threading.Thread(target=read, daemon=True).start()
        try:
            for answer, size in stream:
                with patience.waiting(context.cancel):
                    yield answer
                admitted.let_go(size)
        finally:
            stream.abandon()
            admitted.let_go(stream.bytes_in_flight)
    if stream.refusal:
        raise stream.refusal
    if was_asked_to_end.is_set() and not stream.is_complete:
        raise admission.stopping()


def _read(
    requests: Iterator[bytes],
    admitted: Admission,
    stream: Stream[Answer],
    begin: Callable[[bytes], None],
) -> None:
    """Take the items of a stream, as there is room, and begin to answer each."""
    try:
        while (data := _next(requests, admitted, stream)) is not None:
            if not stream.take(len(data)):
                return
            admitted.take(len(data))
            begin(data)
    except grpc.RpcError:
        stream.abandon()  # The caller is gone.
    except RuntimeError:
        stream.abandon()  # The server is gone, and with it the threads for faces.
    else:
        stream.complete()


def _next(requests: Iterator[bytes], admitted: Admission, stream: Stream[Answer]) -> bytes | None:
    with admitted.patience.waiting(stream.refuse_if_idle, admitted.idle_s):
        return next(requests, None)
