"""Of many faces none is lost while the only server is away: killed, and started anew."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mortal
import pytest
from supervised import Supervised
from twins import Client

from face_embedding_client import Embedding, ServerUnavailableError, SuspectRequestError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Supervised]:
    running = Supervised(tmp_path)
    yield running
    running.end()


def items(act: Callable[[], None]) -> Iterator[tuple[str, bytes]]:
    """Yield forty faces; in the middle of them, do something."""
    for number in range(40):
        if number == 20:
            act()
        yield str(number), b"x" * (number + 1)


@pytest.mark.slow
def test_stream(kind: type[Client], server: Supervised) -> None:
    """A stream goes on when its server is back, and each item is answered once."""
    server.supervise()
    answers = list(kind(server.address).embed_stream(items(server.kill)))
    assert sorted((int(name), getattr(outcome, "norm", outcome)) for name, outcome in answers) == [
        (number, number + 1) for number in range(40)
    ]


@pytest.mark.slow
def test_poison(kind: type[Client], server: Supervised) -> None:
    """What ends the server is sent to it twice and no third time, though it comes back."""
    server.supervise()
    faces = [(str(n), mortal.POISON if n == 20 else b"good") for n in range(30)]
    answers = dict(kind(server.address).embed_stream(faces))
    assert isinstance(answers.pop("20"), SuspectRequestError)
    assert server.asked_for(mortal.POISON) == 2
    assert {getattr(answer, "norm", answer) for answer in answers.values()} == {4}


@pytest.mark.slow
def test_bounded(kind: type[Client], server: Supervised) -> None:
    """A server that does not come back is given up after `outage_s`."""
    client: Any = kind(server.address, outage_s=0.6)
    with pytest.raises(ServerUnavailableError):
        list(client.embed_stream(items(server.kill)))


@pytest.mark.slow
def test_many(kind: type[Client], server: Supervised) -> None:
    """Many faces of several calls are embedded when the server is back."""
    server.supervise()
    faces = [b"a", b"bb", b"ccc", b"dddd", b"eeeee", mortal.POISON, b"ggggggg"]
    outcomes = kind(server.address).embed_many(faces)
    norms = [outcome.norm for outcome in outcomes if isinstance(outcome, Embedding)]
    assert norms == [1, 2, 3, 4, 5, 7]


@pytest.mark.slow
def test_many_without_server(kind: type[Client], server: Supervised) -> None:
    """If it does not come back, those that are embedded come with the error of the others."""
    faces = [b"a", b"bb", b"ccc", b"dddd", b"eeeee", mortal.POISON, b"ggggggg"]
    outcomes = kind(server.address, outage_s=0).embed_many(faces)
    assert [getattr(outcome, "norm", None) for outcome in outcomes[:4]] == [1, 2, 3, 4]
    assert isinstance(outcomes[6], ServerUnavailableError)


@pytest.mark.slow
def test_one_of_many(kind: type[Client], server: Supervised) -> None:
    """A face of its own waits for the server if it is told to, and is given up otherwise."""
    client: Any = kind(server.address)
    assert client.embed(b"a").norm == 1
    server.supervise()
    server.kill()
    with pytest.raises(ServerUnavailableError):
        client.embed(b"bb")
    assert client.embed(b"bb", outlast=True).norm == 2


def test_negative_outage(kind: type[Client]) -> None:
    """A time below zero is refused."""
    with pytest.raises(ValueError, match="outage_s"):
        kind("127.0.0.1:1", outage_s=-1).is_serving()
