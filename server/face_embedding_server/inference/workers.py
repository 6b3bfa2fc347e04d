"""The threads that take faces.

Photographs, in which a face has to be found, have threads of their own, so that aligned faces never
wait behind them; and as few as there are processors, so that no more photographs than that are in
memory at a time.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from face_embedding_server import context
from face_embedding_server.inference import threads

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs functions on faces in the threads that are meant for them."""

    def __init__(self) -> None:
        self._aligned = ThreadPoolExecutor(threads.workers(), "aligned")
        self._photographs = ThreadPoolExecutor(threads.photographs(), "photograph")

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
        """
        pool = self._photographs if photograph else self._aligned
        begin = context.queued()

        def run() -> T:
            begin(0)
            return work(*args, **kwargs)

        try:
            return pool.submit(copy_context().run, run)
        except RuntimeError:
            begin(0)
            raise

    def run(self, photograph: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the only face of a call: an aligned one in the calling thread."""
        if photograph:
            return self.submit(True, work, *args, **kwargs).result()
        return work(*args, **kwargs)

    def close(self) -> None:
        """Let the threads end."""
        self._aligned.shutdown(wait=False)
        self._photographs.shutdown(wait=False)
