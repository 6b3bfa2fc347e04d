"""A server of several processes, by its real command line."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, RawFace
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import MOBILE, RESNET34, wait_until
from support.processes import Running, free_port, serving

# They have a process on each processor.
pytestmark = [pytest.mark.slow, pytest.mark.alone]

TIMEOUT_S = 60
COUNT = 2
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def serving_two(
    store: Store, *flags: str, model: str = MOBILE, log: IO[str] | None = None
) -> AbstractContextManager[Running]:
    given = ("--processes", str(COUNT), "--detector", "none", *flags)
    return serving(store.root, *given, model=model, log=log)


def processes_of(pid: int) -> list[int]:
    """Return the processes that serve for a parent, in the order in which they were begun."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for each in map(int, children) if b"spawn_main" in command_of(each)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_there(pid: int) -> bool:
    return b"spawn_main" in command_of(pid)


def connect(address: str) -> grpc.Channel:
    """Return a connection of its own."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def answered(running: Running, process: int, method: str = "GetModelInfo") -> float:
    labels = f'code="OK",method="face_embedding.v1.FaceEmbeddingService/{method}"'
    return running.metric(f'requests_total{{{labels},process="{process}"}}')


def ask(address: str) -> pb.GetModelInfoResponse:
    """Ask on a new connection."""
    with connect(address) as channel:
        info = pb_grpc.FaceEmbeddingServiceStub(channel).GetModelInfo
        return info(pb.GetModelInfoRequest(), timeout=TIMEOUT_S, wait_for_ready=True)


@pytest.fixture(scope="module")
def two(store: Store) -> Iterator[Running]:
    """A server of two processes that no test harms."""
    with serving_two(store) as running:
        yield running


def test_spread(two: Running) -> None:
    """Connections come to all processes, and each is seen in the metrics."""
    wait_until(lambda: bool(ask(two.address)) and all(answered(two, each) for each in range(COUNT)))


def test_auto_of_one(store: Store) -> None:
    """Where one process is enough, it is the one that was begun."""
    cpus = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, set(list(cpus)[:1]))
        with serving(store.root, "--processes", "auto", "--detector", "none") as running:
            assert processes_of(running.pid) == []
    finally:
        os.sched_setaffinity(0, cpus)


def test_one_client(two: Running, faces: list[Face]) -> None:
    """The calls of one client come to all processes, if there are many at a time."""
    face = RawFace(faces[0], "BGR")

    def spreads() -> bool:
        before = [answered(two, each, "Embed") for each in range(COUNT)]
        with FaceEmbeddingClient(two.address) as client, ThreadPoolExecutor(32) as threads:
            list(threads.map(client.embed, [face] * 100))
        return all(answered(two, each, "Embed") > before[each] for each in range(COUNT))

    # The kernel puts eight connections into one process once in 128 times.
    wait_until(spreads)


def test_share_of_processors(two: Running) -> None:
    """No two processes have a processor in common, if there are enough."""
    first, second = (os.sched_getaffinity(each) for each in processes_of(two.pid))
    assert bool(first & second) == (len(os.sched_getaffinity(0)) < COUNT)


def test_memory(two: Running) -> None:
    """The memory of each process is told, and that it serves."""
    for each in range(COUNT):
        assert two.metric(f'process_serving{{process="{each}"}}') == 1
        assert f'\nprocess_resident_memory_bytes{{process="{each}"}} ' in two.metrics()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_second_server(two: Running, store: Store, processes: str) -> None:
    """A second server on the port is a mistake that is told at its start."""
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", two.address, "--processes", processes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 2
    assert f"cannot listen on {two.address}" in done.stderr


def test_killed(store: Store, faces: list[Face]) -> None:
    """A process that is killed is begun anew, and callers with the retrying client lose nothing."""
    face = RawFace(faces[0], "BGR")
    with serving_two(store) as running:
        over, errors = threading.Event(), list[Exception]()

        def call() -> None:
            with FaceEmbeddingClient(running.address) as client:
                while not over.is_set():
                    try:
                        client.embed(face)
                    except Exception as error:
                        errors.append(error)
                        return

        callers = [threading.Thread(target=call) for _ in range(8)]
        for each in callers:
            each.start()
        os.kill(processes_of(running.pid)[0], signal.SIGKILL)
        wait_until(lambda: running.metric('process_restarts_total{process="0"}') == 1)
        wait_until(lambda: running.metric('process_serving{process="0"}') == 1)
        over.set()
        for each in callers:
            each.join()
        assert errors == []
        assert len(processes_of(running.pid)) == COUNT


def test_gives_up(store: Store, tmp_path: Path) -> None:
    """Where a process cannot be begun anew the server ends, and says why."""
    own = Store(tmp_path / "store")
    shutil.copytree(store.root / MOBILE, own.root / MOBILE)
    with (tmp_path / "log").open("w+") as log, serving_two(own, log=log) as running:
        shutil.rmtree(own.root / MOBILE)
        os.kill(processes_of(running.pid)[1], signal.SIGKILL)
        assert running.process.wait(TIMEOUT_S) == 2
        log.seek(0)
        text = log.read()
    assert "process 1 ended with status 2, 5 times in a row" in text
    assert MOBILE in text.splitlines()[-1]


def test_health_of_all(store: Store) -> None:
    """The port for probes says SERVING while a process serves, and NOT_SERVING once none does."""
    port = free_port()
    with (
        serving_two(store, "--health-address", f"127.0.0.1:{port}", "--drain-s", "1") as running,
        connect(f"127.0.0.1:{port}") as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        os.kill(processes_of(running.pid)[0], signal.SIGKILL)
        wait_until(lambda: running.metric('process_restarts_total{process="0"}') == 1)
        # The other one answers, whichever the connection comes to.
        assert ask(running.address).name == MOBILE
        running.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING


def test_stop(store: Store, faces: list[Face]) -> None:
    """A stop loses no call of any process, and ends all of them."""
    face = pb.Face(raw=pb.RawImage(data=faces[0].tobytes(), width=112, height=112))
    face.raw.channel_order = pb.CHANNEL_ORDER_BGR
    face.aligned.SetInParent()
    with serving_two(store, "--drain-s", "1") as running:
        pids = processes_of(running.pid)
        channels = [connect(running.address) for _ in range(8)]
        stubs = [pb_grpc.FaceEmbeddingServiceStub(channel) for channel in channels]
        for stub in stubs:
            stub.Embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S, wait_for_ready=True)
        begun = [stub.Embed.future(pb.EmbedRequest(faces=[face] * 64)) for stub in stubs]
        for stub in stubs:  # Behind those, on the same connections.
            stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S)
        running.process.send_signal(signal.SIGTERM)
        assert [len(each.result(TIMEOUT_S).results) for each in begun] == [64] * len(stubs)
        assert running.process.wait(TIMEOUT_S) == 0
        for channel in channels:
            channel.close()
        assert not any(map(is_there, pids))


def test_second_signal(store: Store) -> None:
    """A second signal ends all processes at once."""
    with serving_two(store, "--drain-s", "600") as running:
        pids = processes_of(running.pid)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.metric('process_serving{process="0"}') == 0)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(TIMEOUT_S) == -signal.SIGTERM
        wait_until(lambda: not any(map(is_there, pids)))


def test_parent_killed(store: Store) -> None:
    """Without their parent the processes end."""
    with serving_two(store) as running:
        pids = processes_of(running.pid)
        running.process.kill()
        wait_until(lambda: not any(map(is_there, pids)))


def test_new_model(store: Store, resnet34_store: Store, tmp_path: Path) -> None:
    """A model that is new in the store is served by every process."""
    own = Store(shutil.copytree(store.root, tmp_path / "store"))
    with serving_two(own, model=f"{MOBILE},*") as running:
        shutil.copytree(resnet34_store.root / RESNET34, own.root / RESNET34)
        running.process.send_signal(signal.SIGHUP)
        for each in range(COUNT):
            loads = f'model_loads_total{{model="{RESNET34}",outcome="loaded",process="{each}"}}'
            wait_until(lambda loads=loads: running.metric(loads) == 1)


def test_cannot_begin(store: Store) -> None:
    """What a process cannot begin for is told as by a server of one process."""
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", "127.0.0.1:0", "--processes", "2"]
    command += ["--precision", "f64"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 2
    assert "f64" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
