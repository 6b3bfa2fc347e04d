"""The threads that take faces.

Photographs, in which a face has to be found, have threads of their own, so that aligned faces never
wait behind them; and as few as there are processors, so that no more photographs than that are in
memory at a time.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.faces import is_photograph
from face_embedding_server.machine import available_cpus

P = ParamSpec("P")
T = TypeVar("T")

# Two for each stream of the engine, so that none waits for the next face.
_WORKERS_PER_CPU = 2


class Workers:
    """Runs functions on faces in the threads that are meant for them."""

    def __init__(self) -> None:
        cpus = available_cpus()
        self._aligned = ThreadPoolExecutor(_WORKERS_PER_CPU * cpus, "aligned")
        self._photographs = ThreadPoolExecutor(cpus, "photograph")

    def submit(
        self, face: pb.Face, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Have a function run on a face, beside others of the same call."""
        pool = self._photographs if is_photograph(face) else self._aligned
        return pool.submit(work, *args, **kwargs)

    def run(self, face: pb.Face, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the only face of a call: an aligned one in the calling thread."""
        if is_photograph(face):
            return self.run_photograph(work, *args, **kwargs)
        return work(*args, **kwargs)

    def run_photograph(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on a photograph."""
        return self._photographs.submit(work, *args, **kwargs).result()

    def close(self) -> None:
        """Let the threads end."""
        self._aligned.shutdown(wait=False)
        self._photographs.shutdown(wait=False)
