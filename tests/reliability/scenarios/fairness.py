"""A caller of few faces beside others who want all that they can get."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import crowd
from callers import connected, embedding, p99, timed_for
from promises import Figures, Noted, Promise, scenario

from support.processes import Running, child_environment, serving

_SECONDS = 2.5
_ROUNDS = 2
_SETTLE_S = 1.5
_TIMES = "times"


@contextlib.contextmanager
def _beside(running: Running, kind: str, number: int) -> Iterator[None]:
    """Have callers call while the block runs."""
    command = [sys.executable, crowd.__file__, running.address, kind, str(number)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=child_environment(), text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        # Until they have their share.
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            process.kill()


def _slower(running: Running, call: Callable[[], object], kind: str, number: int) -> Noted:
    """Return how many times longer a call takes beside others, measured in turn with alone."""
    alone, beside = [], []
    for _ in range(_ROUNDS):
        alone += timed_for(_SECONDS, call)
        with _beside(running, kind, number):
            beside += timed_for(_SECONDS, call)
    slow, fast = p99(beside), p99(alone)
    return Noted(slow / fast, f"{1000 * slow:.0f} ms, alone {1000 * fast:.0f} ms")


@scenario(
    Promise("2 faces beside a caller of batches of 64: p99, of alone", 3, _TIMES, 10),
    Promise("2 faces beside a full stream: p99, of alone", 3, _TIMES, 10),
    Promise("2 faces beside eight callers of batches of 64: p99, of alone", 5, _TIMES, 15),
    Promise("an aligned face beside 100 callers of photographs: p99", 200, "ms", 1000),
)
def _few_faces(store: Path) -> Figures:
    with serving(store) as running, connected(running.address) as channel:
        two, one = embedding(channel, 2), embedding(channel, 1)
        timed_for(1, two)
        yield _slower(running, two, "batches", 1)
        yield _slower(running, two, "a stream", 1)
        yield _slower(running, two, "batches", 8)
        with _beside(running, "photographs", 100):
            yield 1000 * p99(timed_for(2 * _SECONDS, one))


SCENARIOS = (_few_faces,)
