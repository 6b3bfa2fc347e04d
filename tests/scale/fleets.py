"""Several servers as processes, each at a place of its own, and what calls them all the time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.faces.images import Image
from support.processes import SERVE, Running, free_port, serving

CALLERS = 8
# Longer than the interval of the proxy's health checks.
FLAGS = ("--detector", "none", "--drain-s", "2", "--grace-s", "10")
_METHOD = "face_embedding.v1.FaceEmbeddingService/Embed"


class Fleet:
    """Servers of the models in a store, by the numbers of their places.

    Args:
        store: the folder with the models.
        size: how many places there are; none has a server yet.
        flags: more of their command line.
        program: what follows Python on it, before `serve`.
    """

    def __init__(self, store: Path, size: int, *flags: str, program: Sequence[str] = SERVE) -> None:
        self.ports = [free_port() for _ in range(size)]
        self.servers: dict[int, Running] = {}
        self._store = store
        self._flags = flags
        self._program = program
        self._ends = [ExitStack() for _ in range(size)]

    def start(self, *places: int) -> None:
        """Start servers, at the same time."""
        with ThreadPoolExecutor(len(places)) as threads:
            self.servers |= zip(places, threads.map(self._start, places), strict=True)

    def _start(self, place: int) -> Running:
        flags = (*FLAGS, *self._flags, "--address", f"127.0.0.1:{self.ports[place]}")
        server = serving(self._store, *flags, program=self._program)
        return self._ends[place].enter_context(server)

    def stop(self, place: int) -> None:
        """Stop a server in order, or bury one that was killed."""
        self._ends[place].close()

    def counts(self, code: str = "OK") -> list[int]:
        """Return how many calls of `Embed` each server ended with a code."""
        line = f'requests_total{{code="{code}",method="{_METHOD}"}}'
        return [int(server.metric(line)) for server in self.servers.values()]


@contextmanager
def fleet(
    store: Path, size: int, *flags: str, program: Sequence[str] = SERVE, of: int | None = None
) -> Iterator[Fleet]:
    """Run a fleet until the block ends; `of` is how many of its servers are started."""
    made = Fleet(store, size, *flags, program=program)
    try:
        made.start(*range(size)[:of])
        yield made
    finally:
        for place, server in made.servers.items():
            # Nobody calls them any more.
            server.process.kill()
            made.stop(place)


class Load:
    """What some callers do all the time.

    Args:
        call: what each of them does.

    Attributes:
        calls: how many have ended, well or not.
        failures: what those that failed raised.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self.failures: list[Exception] = []
        self.calls = 0
        self._call = call
        self._ended = threading.Condition()
        self._over = False

    def _work(self) -> None:
        while not self._over:
            try:
                self._call()
            except Exception as error:
                self.failures.append(error)
            with self._ended:
                self.calls += 1
                self._ended.notify_all()

    def more(self, calls: int = 200) -> None:
        """Wait until some calls more have ended, well or not."""
        with self._ended:
            until = self.calls + calls
            self._ended.wait_for(lambda: self.calls >= until)

    def __enter__(self) -> "Load":
        self._threads = ThreadPoolExecutor(CALLERS)
        for _ in range(CALLERS):
            self._threads.submit(self._work)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._threads.shutdown()


def request(face: Image, number: int = 1) -> pb.EmbedRequest:
    """Return a request for the same face so many times."""
    pixels = pb.RawImage(
        data=face.tobytes(), width=112, height=112, channel_order=pb.CHANNEL_ORDER_BGR
    )
    return pb.EmbedRequest(faces=[pb.Face(raw=pixels, aligned=pb.Aligned())] * number)
