"""The threads that take faces.

Photographs, in which a face has to be found, have threads of their own, so that aligned faces never
wait behind them; and as few as there are processors, so that no more photographs than that are in
memory at a time.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from face_embedding_server import context
from face_embedding_server.inference import threads
from face_embedding_server.inference.fair import FairQueue

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs functions on faces in the threads that are meant for them."""

    def __init__(self) -> None:
        self._aligned = _Pool(threads.workers(), "aligned")
        self._photographs = _Pool(threads.photographs(), "photograph")

    def submit(
        self, photograph: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Have a function run on a face, beside others of the same call.

        If nobody waits for the answer any more when its turn comes, it is not run: the future then
        raises a `Refusal`.

        Args:
            photograph: whether the face has to be found or aligned, which takes longer than to
                embed it.
            work: the function.
            *args: what it is given.
            **kwargs: what it is given by name.

        Raises:
            RuntimeError: if the workers are closed.
        """
        pool = self._photographs if photograph else self._aligned
        begin = context.queued()
        future: Future[T] = Future()

        def run() -> None:
            try:
                begin(0)
                future.set_result(work(*args, **kwargs))
            except BaseException as error:  # Whoever waits for it is told, whatever it is.
                future.set_exception(error)

        inside = copy_context()
        try:
            pool.add(lambda: inside.run(run))
        except RuntimeError:
            begin(0)
            raise
        return future

    def run(self, photograph: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the only face of a call: an aligned one in the calling thread."""
        if photograph:
            return context.result_of(self.submit(True, work, *args, **kwargs))
        return work(*args, **kwargs)

    def close(self) -> None:
        """Let the threads end."""
        self._aligned.close()
        self._photographs.close()


class _Pool:
    """Threads that take work in turns from all callers, and from all calls of a caller."""

    def __init__(self, size: int, name: str) -> None:
        self._lock = threading.Lock()
        self._waiting: FairQueue[Callable[[], None]] = FairQueue()
        # One for each piece of work; false ends a thread.
        self._signs: SimpleQueue[bool] = SimpleQueue()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=name, daemon=True) for _ in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, work: Callable[[], None]) -> None:
        """Have a function run that raises nothing.

        Raises:
            RuntimeError: if this is closed.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the workers are closed")
            self._waiting.put(work, *context.flow())
        self._signs.put(True)

    def close(self) -> None:
        """Take no more; what was taken is done."""
        with self._lock:
            self._is_closed = True
        for _ in self._threads:
            self._signs.put(False)

    def _work(self) -> None:
        while self._signs.get():
            with self._lock:
                work = self._waiting.get()
            if work:
                work()
