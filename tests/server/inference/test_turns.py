"""Turns at the engine, alone and in a server under more load than it can bear."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

import grpc
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server import context
from face_embedding_server.context import Call
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.inference.turns import Turns
from face_embedding_server.telemetry.metrics import Metrics
from support import after, encode, running_server, small_settings, wait_until

# More than there are turns, and than threads for faces.
MANY = 100
CALLS = 4
TIMEOUT_S = 60


@dataclass
class Caller:
    """Someone who waits for an answer."""

    remaining_s: float | None = None
    active: bool = True

    def is_active(self) -> bool:
        return self.active

    def time_remaining(self) -> float | None:
        return self.remaining_s


class Engine:
    """An engine with one turn, which a first face has until it is let go."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._turns = Turns(1)
        self._metrics = Metrics()
        self._threads = ThreadPoolExecutor(10)
        self._over = threading.Event()
        inside = threading.Event()
        # It knows by now that a turn takes next to no time.
        self._turns.run(lambda: None)

        def occupy() -> None:
            inside.set()
            self._over.wait()

        self._threads.submit(self._turns.run, occupy)
        inside.wait()

    @property
    def waiting(self) -> float:
        """The depth of the queue."""
        return self._metrics.registry.get_sample_value("face_embedding_queue_depth") or 0

    def embed(self, name: str, caller: Caller) -> "Future[None]":
        """Begin a call for a face; return once it waits for its turn."""
        before = self.waiting

        def run() -> None:
            context.enter(Call(name, caller, self._metrics, None))
            self._turns.run(self.done.append, name)

        running = self._threads.submit(copy_context().run, run)
        wait_until(lambda: self.waiting > before)
        return running

    def let_go(self) -> None:
        """End the first face, and so give the others their turns."""
        self._over.set()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.let_go()


def test_order(engine: Engine) -> None:
    """Those who wait have their turns in the order in which they came."""
    names = list("abcdef")
    running = [engine.embed(name, Caller()) for name in names]
    engine.let_go()
    for each in running:
        each.result(TIMEOUT_S)
    assert engine.done == names
    assert engine.waiting == 0


def test_one_who_left(engine: Engine) -> None:
    """A face whose caller left while it waited is given up, and the next one has its turn."""
    caller = Caller()
    left, next_ = engine.embed("left", caller), engine.embed("next", Caller())
    caller.active = False
    engine.let_go()
    with pytest.raises(Refusal) as raised:
        left.result(TIMEOUT_S)
    next_.result(TIMEOUT_S)
    assert raised.value.reason == Reason.ABANDONED
    assert engine.done == ["next"]


def test_close_deadline(engine: Engine) -> None:
    """A face is given up whose deadline would pass before an answer, going by those before."""
    caller = Caller(60)
    patient, hasty = engine.embed("patient", Caller(60)), engine.embed("hasty", caller)
    caller.remaining_s = 1e-9
    engine.let_go()
    patient.result(TIMEOUT_S)
    with pytest.raises(Refusal):
        hasty.result(TIMEOUT_S)
    assert engine.done == ["patient"]


def test_deadline_in_the_queue(engine: Engine) -> None:
    """Nobody waits beyond their deadline, also if no turn ever ends."""
    waiting = engine.embed("waiting", Caller(0.2))
    with pytest.raises(Refusal) as raised:
        waiting.result(TIMEOUT_S)
    assert raised.value.reason == Reason.ABANDONED


def test_stall(engine: Engine) -> None:
    """One turn that was held up does not let all that follow seem late."""
    caller = Caller(TIMEOUT_S)
    next_ = engine.embed("next", caller)
    wait_until(after(0.3))
    caller.remaining_s = 0.01
    engine.let_go()
    next_.result(TIMEOUT_S)
    assert engine.done == ["next"]


def test_failure() -> None:
    """A turn is passed on after a failure too."""
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            turns.run(lambda: 1 / 0)


@pytest.mark.slow
@pytest.mark.alone
def test_overload(resnet34_store: Store, faces: list[Face]) -> None:
    """Under twice the load that it can bear, a server goes on answering calls in time."""
    request = pb.EmbedRequest(faces=[pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())])
    with (
        running_server(small_settings(resnet34_store, detector="none")) as running,
        grpc.insecure_channel(running.address) as channel,
        ThreadPoolExecutor(MANY) as callers,
    ):
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        embed(request, timeout=TIMEOUT_S)
        began = time.monotonic()
        embed(request, timeout=TIMEOUT_S)
        timeout_s = MANY / 2 * (time.monotonic() - began)

        def call_on(_: int) -> list[grpc.StatusCode]:
            return [embed.future(request, timeout=timeout_s).code() for _ in range(CALLS)]

        codes = [code for each in callers.map(call_on, range(MANY)) for code in each[1:]]
    refused = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert set(codes) - refused == {grpc.StatusCode.OK}
    assert codes.count(grpc.StatusCode.OK) > len(codes) / 20
