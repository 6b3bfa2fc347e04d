"""How many connections a client has."""

import contextlib

import grpc
import pytest
from twins import Client

from face_embedding_client._lines import FULL, Lines

ADDRESS = "127.0.0.1:1"


def make(most: int) -> Lines[grpc.Channel]:
    return Lines(lambda: grpc.insecure_channel(ADDRESS), grpc.insecure_channel(ADDRESS), most)


def under_way(lines: Lines[grpc.Channel], sizes: list[int]) -> list[int]:
    """Return how many calls each connection carries when some are under way."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(lines.taken(size)) for size in sizes]
        found = {id(line): line.calls for line in taken}
    return list(found.values())


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ([1] * FULL, [FULL]),
        ([1] * (FULL + 1), [FULL, 1]),
        ([1] * (2 * FULL + 1), [FULL, FULL, 1]),
        ([1] * (3 * FULL + 2), [FULL + 1, FULL + 1, FULL]),
        ([FULL, 1], [FULL, 1]),
        ([1, FULL], [1 + FULL]),
        ([FULL] * 4, [2 * FULL, FULL, FULL]),
    ],
)
def test_calls_of_each(sizes: list[int], calls: list[int]) -> None:
    """There is one more when all are full, and each call takes the one with the fewest."""
    assert under_way(make(3), sizes) == calls


def test_one_by_one() -> None:
    """Calls one after the other need one connection, the same again and again."""
    lines = make(3)
    assert {tuple(under_way(lines, [1])) for _ in range(9)} == {(1,)}
    assert len(lines.channels) == 2  # With the one for the health of any server.


def test_fewest_again() -> None:
    """Calls that end leave room on connections that there are already."""
    lines = make(3)
    under_way(lines, [1] * (FULL + 1))
    assert under_way(lines, [1] * (2 * FULL)) == [FULL, FULL]
    assert len(lines.channels) == 3


def test_failed_call() -> None:
    """A call that fails is under way no more."""
    lines = make(3)
    with contextlib.suppress(ValueError), lines.taken():
        raise ValueError
    with lines.taken() as line:
        assert line.calls == 1


@pytest.mark.parametrize("connections", [0, -1])
def test_none(kind: type[Client], connections: int) -> None:
    with pytest.raises(ValueError, match=f"connections is {connections}, it has to be at least 1"):
        kind(ADDRESS, connections=connections).is_serving()
