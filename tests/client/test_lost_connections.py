"""What was under way on a connection that was lost is sent once more, alone, and no third time."""

import asyncio
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mortal
import pytest
from twins import Client

from face_embedding_client import (
    AsyncFaceEmbeddingClient,
    ConnectionLostError,
    Embedding,
    FaceEmbeddingClient,
    FaceEmbeddingError,
    ServerUnavailableError,
    SuspectRequestError,
)
from support import http2, wait_until
from support.http2 import Frame

SERVERS = 4


class Mortals:
    """Servers in processes of their own, which a face can end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.outputs = [folder / str(number) for number in range(SERVERS)]
        self.processes = []
        for output in self.outputs:
            with output.open("wb") as file:
                process = subprocess.Popen([sys.executable, mortal.__file__], stdout=file)
            self.processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_until(lambda: all(b"\n" in output.read_bytes() for output in self.outputs))
        ports = [output.read_text().split()[0] for output in self.outputs]
        self.address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)

    def asked_for(self, face: bytes) -> int:
        """How often all servers together were asked for a face."""
        return sum(output.read_text().split().count(face.decode()) for output in self.outputs)

    @property
    def dead(self) -> int:
        """How many servers were killed."""
        return sum(process.poll() == -signal.SIGKILL for process in self.processes)


@pytest.fixture
def mortals(tmp_path: Path) -> Iterator[Mortals]:
    with ExitStack() as stack:
        yield Mortals(tmp_path, stack)


def check_poison(mortals: Mortals, outcome: object, field: str, name: str) -> None:
    """Check that a face was refused by name after it had killed two servers."""
    assert isinstance(outcome, SuspectRequestError)
    assert outcome.field == field
    assert outcome.message.startswith(f"{name}: the connection was lost twice")
    assert mortals.asked_for(mortal.POISON) == 2
    wait_until(lambda: mortals.dead == 2)


@pytest.mark.slow
def test_call(kind: type[Client], mortals: Mortals) -> None:
    """A call that ends its server ends one more and no third, however many retries there are."""
    client = kind(mortals.address, round_robin=True, retries=4)
    with pytest.raises(SuspectRequestError) as caught:
        client.embed(mortal.POISON)
    check_poison(mortals, caught.value, "faces[0]", "faces[0]")
    assert not isinstance(caught.value, ServerUnavailableError)
    assert client.embed(b"good").norm == 4


@pytest.mark.slow
def test_batch(kind: type[Client], mortals: Mortals) -> None:
    """Of a batch only the face that ends its servers is refused."""
    faces = [b"a", b"bb", b"ccc", b"dddd", b"eeeee", mortal.POISON, b"ggggggg"]
    outcomes = kind(mortals.address, round_robin=True).embed_many(faces)
    check_poison(mortals, outcomes[5], "faces[5]", "faces[5]")
    norms = [outcome.norm for outcome in outcomes if isinstance(outcome, Embedding)]
    assert norms == [1, 2, 3, 4, 5, 7]


@pytest.mark.slow
def test_stream(kind: type[Client], mortals: Mortals) -> None:
    """Of a stream only that item is refused, and each other one is answered once."""
    items = [(str(n), mortal.POISON if n == 7 else b"x" * n) for n in range(1, 30)]
    answers = list(kind(mortals.address, round_robin=True).embed_stream(items))
    outcomes = dict(answers)
    assert len(answers) == len(outcomes) == 29
    check_poison(mortals, outcomes.pop("7"), "face", "item '7'")
    assert {name: getattr(o, "norm", o) for name, o in outcomes.items()} == {
        str(n): n for n in range(1, 30) if n != 7
    }


@pytest.mark.slow
def test_same_id(kind: type[Client], mortals: Mortals) -> None:
    """Items of one id keep their own answers, even where a stream is lost."""
    items = [("same", face) for face in (b"a", b"bb", mortal.POISON, b"dddd", b"eeeee")]
    answers = kind(mortals.address, round_robin=True).embed_stream(items)
    found = [getattr(outcome, "norm", type(outcome)) for _, outcome in answers]
    assert sorted(found, key=str) == [1, 2, 4, 5, SuspectRequestError]


@pytest.mark.slow
def test_killed_servers_of_a_stream(kind: type[Client], mortals: Mortals) -> None:
    """A stream outlives all but one of its servers, and no item is lost or answered twice."""

    def items() -> Iterator[tuple[str, bytes]]:
        for number in range(200):
            if number % 50 == 49 and number < 150:
                mortals.processes[number // 50].kill()
            yield str(number), b"x" * (number + 1)

    answers = list(kind(mortals.address, round_robin=True).embed_stream(items()))
    assert sorted((int(name), getattr(outcome, "norm", outcome)) for name, outcome in answers) == [
        (number, number + 1) for number in range(200)
    ]


@pytest.mark.slow
def test_killed_server(mortals: Mortals) -> None:
    """While one of several servers is killed, no call of many threads fails."""
    with FaceEmbeddingClient(mortals.address, round_robin=True) as client:

        def call(number: int) -> float:
            if number == 50:
                mortals.processes[0].kill()
            return client.embed(b"x" * (number + 1)).norm

        with futures.ThreadPoolExecutor(8) as threads:
            assert list(threads.map(call, range(200))) == [number + 1 for number in range(200)]


@pytest.mark.slow
def test_killed_server_of_the_asyncio_client(mortals: Mortals) -> None:
    """Nor does any of the client for asyncio."""

    async def callers() -> list[float]:
        async with AsyncFaceEmbeddingClient(mortals.address, round_robin=True) as client:
            at_once = asyncio.Semaphore(8)

            async def call(number: int) -> float:
                async with at_once:
                    if number == 50:
                        mortals.processes[0].kill()
                    return (await client.embed(b"x" * (number + 1))).norm

            return await asyncio.gather(*(call(number) for number in range(200)))

    assert asyncio.run(callers()) == [number + 1 for number in range(200)]


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_without_retries(stream: bool, kind: type[Client], mortals: Mortals) -> None:
    """Without retries nothing is sent twice."""
    client: Any = kind(mortals.address, round_robin=True, retries=0)
    with pytest.raises(ConnectionLostError):
        list(client.embed_stream([("a", mortal.POISON)])) if stream else client.embed(mortal.POISON)
    assert mortals.asked_for(mortal.POISON) == 1


@pytest.fixture
def closing() -> Iterator[Callable[[bool], tuple[str, list[None]]]]:
    """Makes servers that reset each connection: at once, or when a call has come over it.

    Gives their address, and a list that grows by one for each connection.
    """
    with ExitStack() as stack:

        def make(at_once: bool) -> tuple[str, list[None]]:
            listener = socket.create_server(("127.0.0.1", 0))
            connections: list[None] = []

            def serve() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    connections.append(None)
                    with connection:
                        reset = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                        if not at_once:
                            talk_until_called(connection)

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.close)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"127.0.0.1:{listener.getsockname()[1]}", connections

        yield make


def talk_until_called(connection: socket.socket) -> None:
    """Speak HTTP/2 until the first call has come."""
    with connection.makefile("rb") as file:
        connection.sendall(Frame(http2.SETTINGS).encode())
        file.read(len(http2.PREFACE))
        for frame in http2.read_frames(file):
            if frame.kind == http2.SETTINGS and frame.flags != http2.ACK:
                connection.sendall(Frame(http2.SETTINGS, http2.ACK).encode())
            if frame.kind == http2.DATA:
                return


def test_never_sent(kind: type[Client], closing: Any) -> None:
    """A call for which there never was a connection is no suspect."""
    address, connections = closing(True)
    with pytest.raises(ServerUnavailableError) as caught:
        kind(address).model_info()
    assert type(caught.value) is ServerUnavailableError
    assert connections


def test_reset(kind: type[Client], closing: Any) -> None:
    """A call whose connection is reset is sent twice and no more."""
    address, connections = closing(False)
    with pytest.raises(SuspectRequestError, match="GetModelInfo: the connection was lost twice"):
        kind(address).model_info()
    assert len(connections) == 2


def test_no_such_host(kind: type[Client]) -> None:
    """Nor is one for a name that has no address."""
    with pytest.raises(FaceEmbeddingError) as caught:
        kind("dns:///face.invalid:1").model_info()
    assert type(caught.value) is ServerUnavailableError
