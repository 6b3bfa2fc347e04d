"""Several servers behind Envoy, by the configuration that is deployed; `make scale-test`."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from proxies import Proxy, proxying

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, RawFace
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image
from support import wait_until
from support.processes import FAULTY, SERVE, Running, free_port, serving

CALLERS = 8
EMBED = 'requests_total{code="OK",method="face_embedding.v1.FaceEmbeddingService/Embed"}'
# Twice the interval of the proxy's health checks, and more.
FLAGS = ("--detector", "none", "--drain-s", "3", "--grace-s", "10")


@pytest.fixture
def ports() -> list[int]:
    """Where servers are to listen, so that one that is begun anew is at the same place."""
    return [free_port() for _ in range(4)]


def run(
    stack: ExitStack, store: Store, port: int, *flags: str, program: Sequence[str] = SERVE
) -> Running:
    given = (*FLAGS, *flags, "--address", f"127.0.0.1:{port}")
    return stack.enter_context(serving(store.root, *given, program=program))


def request(face: Image, number: int = 1) -> pb.EmbedRequest:
    """Return a request for the same face so many times."""
    pixels = pb.RawImage(
        data=face.tobytes(), width=112, height=112, channel_order=pb.CHANNEL_ORDER_BGR
    )
    return pb.EmbedRequest(faces=[pb.Face(raw=pixels, aligned=pb.Aligned())] * number)


@contextmanager
def called(proxy: Proxy, face: RawFace) -> Iterator[Callable[[], int]]:
    """Embed all the time in some threads; give how often so far. Any error fails the test."""
    over, done = threading.Event(), [0] * CALLERS

    def call(number: int) -> None:
        while not over.is_set():
            client.embed(face)
            done[number] += 1

    with (
        FaceEmbeddingClient(proxy.address) as client,
        ThreadPoolExecutor(CALLERS) as threads,
    ):
        calls = [threads.submit(call, number) for number in range(CALLERS)]
        try:
            yield lambda: sum(done)
        finally:
            over.set()
        for each in calls:
            each.result()


def more(count: Callable[[], int], calls: int = 100) -> None:
    """Wait until there were some calls more."""
    until = count() + calls
    wait_until(lambda: count() >= until)


def test_nothing_lost(store: Store, ports: list[int], faces: list[Image], tmp_path: Path) -> None:
    """One is killed and comes back, all are begun anew in turn, a fourth comes: no call fails."""
    face = RawFace(faces[0], "BGR")
    stacks = [ExitStack() for _ in ports]
    with ExitStack() as all_of_them:
        for stack in stacks:
            all_of_them.enter_context(stack)
        running = [run(stacks[number], store, ports[number]) for number in range(3)]
        proxy = all_of_them.enter_context(proxying(ports, tmp_path))
        wait_until(lambda: proxy.healthy() == set(ports[:3]))
        with called(proxy, face) as count:
            os.kill(running[0].pid, signal.SIGKILL)
            more(count)
            for number in range(3):
                stacks[number].close()  # It stops in order, but for the one that was killed.
                more(count)
                run(stacks[number], store, ports[number])
                wait_until(lambda: proxy.healthy() == set(ports[:3]))
            fourth = run(stacks[3], store, ports[3])
            wait_until(lambda: proxy.healthy() == set(ports))
            wait_until(lambda: fourth.metric(EMBED) > 0)


def test_one_connection(store: Store, ports: list[int], faces: list[Image], tmp_path: Path) -> None:
    """The calls of one connection are spread over all servers, within a tenth."""
    with ExitStack() as stack:
        running = [run(stack, store, port) for port in ports[:3]]
        proxy = stack.enter_context(proxying(ports[:3], tmp_path))
        wait_until(lambda: proxy.healthy() == set(ports[:3]))
        channel = stack.enter_context(grpc.insecure_channel(proxy.address))
        threads = stack.enter_context(ThreadPoolExecutor(CALLERS))
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        list(threads.map(embed, [request(faces[0])] * 1500))
        counts = [each.metric(EMBED) for each in running]
        assert sum(counts) == 1500
        assert all(450 <= count <= 550 for count in counts), counts


def test_overloaded(store: Store, ports: list[int], faces: list[Image], tmp_path: Path) -> None:
    """What a server refuses that has too much is taken by another one."""
    mode = tmp_path / "mode"
    program = (FAULTY, str(mode))
    full = ("--max-bytes-in-flight", str(1 << 20))
    with ExitStack() as stack:
        busy = run(stack, store, ports[0], *full, program=program)
        run(stack, store, ports[1])
        proxy = stack.enter_context(proxying(ports[:2], tmp_path))
        wait_until(lambda: proxy.healthy() == set(ports[:2]))
        mode.write_text("hang")
        direct = stack.enter_context(grpc.insecure_channel(busy.address))
        occupied = pb_grpc.FaceEmbeddingServiceStub(direct).Embed.future(request(faces[0], 32))
        wait_until(lambda: busy.metric("queue_depth") > 0)
        channel = stack.enter_context(grpc.insecure_channel(proxy.address))
        for _ in range(50):
            pb_grpc.FaceEmbeddingServiceStub(channel).Embed(request(faces[0]), timeout=10)
        assert proxy.statistic("upstream_rq_retry_success") > 0
        assert not occupied.done()
