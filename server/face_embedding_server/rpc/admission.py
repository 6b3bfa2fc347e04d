"""The calls in progress, and their bytes: how many there are, and that they end when it stops."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.rpc.status import overloaded

# Until a server that is full of messages has answered some of them.
_FULL_S = 0.5


class Admission:
    """Admits calls, and ends them in order when the server stops.

    Args:
        max_bytes: the most bytes of all messages that are being answered.
        patience: how long callers of streams are waited for.
        idle_s: the same, of one who may send more and awaits nothing.
    """

    def __init__(self, max_bytes: int, patience: Patience, idle_s: float) -> None:
        self._max_bytes = max_bytes
        self.patience = patience
        self.idle_s = idle_s
        self._bytes = 0
        self._changed = threading.Condition()
        self._active = 0
        self._stopping = False
        self._finishing = False
        self._stream_ends: set[Callable[[], None]] = set()

    def admitted(self, size: int) -> AbstractContextManager[object]:
        """Return a block in which a call is counted, and the bytes of its message.

        Raises:
            Refusal: on entering it, if the server is stopping, or has too many bytes already.
        """
        return _Admitted(self, size)

    def begin(self, size: int) -> None:
        """Begin to count a call; see `admitted`."""
        with self._changed:
            if self._stopping:
                raise stopping()
            if not self._has_room(size):
                raise overloaded(_FULL_S)
            self._bytes += size
            self._active += 1

    def end(self, size: int) -> None:
        """Count a call no more."""
        with self._changed:
            self._active -= 1
            self._bytes -= size
            self._changed.notify_all()

    def take(self, size: int) -> None:
        """Wait until there is room for the bytes of an item of a stream, and count them."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(size))
            self._bytes += size

    def let_go(self, size: int) -> None:
        """Count bytes of items no more."""
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        # One message alone may have any size that gRPC lets through.
        return not self._bytes or self._bytes + size <= self._max_bytes

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


class _Admitted:
    """A block in which a call is counted; a class, as it is on the path of every call."""

    __slots__ = ("_admission", "_size")

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission = admission
        self._size = size

    def __enter__(self) -> None:
        self._admission.begin(self._size)

    def __exit__(self, *_: object) -> None:
        self._admission.end(self._size)


def stopping() -> Refusal:
    """Return the refusal of a server that is stopping."""
    return Refusal(Reason.STOPPING, "the server is stopping; try another one")
