"""The calls in progress: they are counted, so that a stopping server can wait for them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from face_embedding_server.errors import Reason, Refusal

# A caller who does not send, or not take, a message of a few bytes for so long has left.
PATIENCE_S = 5.0


class Admission:
    """Admits calls, and ends them in order when the server stops."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._active = 0
        self._stopping = False
        self._finishing = False
        self._stream_ends: set[Callable[[], None]] = set()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a call for as long as the block lasts.

        Raises:
            Refusal: if the server is stopping.
        """
        with self._changed:
            if self._stopping:
                raise stopping()
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    @contextmanager
    def asked_to_end(self, end: Callable[[], None]) -> Iterator[None]:
        """Have a stream that was admitted asked, by `end`, to take no more items."""
        with self._changed:
            self._stream_ends.add(end)
            # It was admitted just before, and those that were there then have been asked.
            if self._finishing:
                end()
        try:
            yield
        finally:
            with self._changed:
                self._stream_ends.discard(end)

    @property
    def is_stopping(self) -> bool:
        """Whether new calls are refused."""
        return self._stopping

    def refuse(self) -> None:
        """Refuse every new call from now on; those in progress go on, streams too."""
        with self._changed:
            self._stopping = True

    def finish(self, timeout_s: float) -> bool:
        """Ask streams to end, and wait for all calls; return whether all ended in time."""
        with self._changed:
            self._finishing = True
            for end in self._stream_ends:
                end()
            return self._changed.wait_for(lambda: self._active == 0, timeout_s)


def stopping() -> Refusal:
    """Return the refusal of a server that is stopping."""
    return Refusal(Reason.STOPPING, "the server is stopping; try another one")


@contextmanager
def cut_off_after(patience_s: float, context: grpc.ServicerContext) -> Iterator[None]:
    """End a call if the block, which waits for its caller, takes longer."""
    timer = threading.Timer(patience_s, context.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
