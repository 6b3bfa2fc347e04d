"""Clients of several servers."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack
from typing import Any

import pytest
from twins import Client

from face_embedding_client import Embedding, FaceEmbeddingClient, RawFace, ServerUnavailableError
from face_embedding_models.store import Store
from support import RunningServer, running_server, small_settings, wait_until


@pytest.fixture
def pair(store: Store) -> Iterator[list[RunningServer]]:
    """Two servers, which differ by a limit that they tell."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                running_server(small_settings(store, max_faces_per_request=number, drain_s=0.5))
            )
            for number in (1, 2)
        ]


def both(servers: list[RunningServer]) -> str:
    """The addresses of servers as one name."""
    return "ipv4:" + ",".join(server.address for server in servers)


def answerer(client: FaceEmbeddingClient) -> int:
    """Which of two servers answers."""
    return client.model_info().max_faces_per_request


def test_calls_are_spread(pair: list[RunningServer]) -> None:
    """Calls go to both servers in turn."""
    with FaceEmbeddingClient(both(pair), round_robin=True) as client:
        wait_until(lambda: {answerer(client) for _ in range(2)} == {1, 2})
        answers = [answerer(client) for _ in range(10)]
    assert answers.count(1) == answers.count(2) == 5


def test_a_server_stops(pair: list[RunningServer], faces: list[Any]) -> None:
    """While one of two servers stops, no call fails, and then the other answers all."""
    face, over = RawFace(faces[0], "BGR"), threading.Event()

    def call() -> int:
        count = 0
        while not over.is_set():
            client.embed(face)
            count += 1
        return count

    with (
        FaceEmbeddingClient(both(pair), round_robin=True) as client,
        futures.ThreadPoolExecutor(4) as threads,
    ):
        wait_until(lambda: {answerer(client) for _ in range(2)} == {1, 2})
        callers = [threads.submit(call) for _ in range(4)]
        try:
            pair[0].server.stop()
            answers = {answerer(client) for _ in range(20)}
        finally:
            over.set()
        assert min(caller.result() for caller in callers) > 0
    assert answers == {2}


def test_a_server_of_a_stream_stops(
    kind: type[Client], pair: list[RunningServer], faces: list[Any]
) -> None:
    """A stream goes on with another server, and no item is lost or answered twice."""
    stopping = threading.Thread(target=pair[0].server.stop)

    def items() -> Iterator[tuple[str, RawFace]]:
        for number in range(300):
            if number == 100:
                stopping.start()
            yield str(number), RawFace(faces[number % len(faces)], "BGR")

    try:
        answers = list(kind(both(pair), round_robin=True).embed_stream(items()))
    finally:
        stopping.join()
    assert {type(outcome) for _, outcome in answers} == {Embedding}
    assert sorted(int(name) for name, _ in answers) == list(range(300))


def test_health_of_several(kind: type[Client], store: Store) -> None:
    """A balanced client is served if any server serves; it tells not serving from not there."""
    with (
        running_server(small_settings(store)) as ready,
        running_server(small_settings(store), load=False) as loading,
    ):
        assert kind(both([loading, ready]), round_robin=True).is_serving() is True
        assert kind(both([loading, loading]), round_robin=True).is_serving() is False
    with pytest.raises(ServerUnavailableError):
        kind("ipv4:127.0.0.1:1", round_robin=True).is_serving()
