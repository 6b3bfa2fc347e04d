"""How many processes, and which processors each of them has."""

import os
from pathlib import Path

import pytest

from face_embedding_models.store import Store
from face_embedding_server.inference import threads
from face_embedding_server.processes import sizing
from support import small_settings


@pytest.mark.parametrize(
    ("rate", "cpus", "count"),
    [
        (17, 2, 1),  # ResNet34 at f32.
        (17, 96, 1),
        (80, 96, 4),  # At bf16 on a processor that has it.
        (290, 8, 2),  # MobileFaceNet at f32.
        (290, 32, 5),
        (600, 8, 3),  # At bf16.
        (100_000, 8, 4),  # Never less than two processors for each.
    ],
)
def test_worth(rate: float, cpus: int, count: int) -> None:
    """There are as many as it takes to pass on what the engine can do."""
    assert sizing.worth(rate, cpus) == count


@pytest.mark.slow
def test_measured(store: Store) -> None:
    """A processor's speed is that of the model at the precision that it runs at."""
    allowed = os.sched_getaffinity(0)
    try:
        rate = sizing._faces_per_s_of_a_cpu(small_settings(store))
    finally:
        os.sched_setaffinity(0, allowed)
    assert sizing._choice(small_settings(store)).precision == "f32"
    assert 1 < rate < 100_000


def test_given_number(store: Store) -> None:
    """What is given is taken as it is."""
    settings = small_settings(store, processes=3)
    assert sizing.plan(settings) == settings


@pytest.mark.slow
def test_precision_of_all(store: Store) -> None:
    """A precision that is left open is chosen once, and handed on with its reason."""
    planned = sizing.plan(small_settings(store, processes=2, precision="auto"))
    assert planned.processes == 2
    assert planned.precision in {"f32", "bf16"}
    assert planned.precision_reason.startswith("auto: ")


def test_small_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small machine one process is enough."""
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    assert sizing.plan(small_settings(store, processes="auto")).processes == 1


@pytest.mark.slow
def test_large_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a large machine there are as many as are worth it, by what one processor does here."""
    monkeypatch.setattr(threads, "available_cpus", lambda: 4)
    planned = sizing.plan(small_settings(store, processes="auto"))
    assert planned.processes in {1, 2}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_shares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int) -> None:
    """Every processor is somebody's, and nobody has two more than another."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3, 11)))
    shares = threads.shares(count, tmp_path)
    assert frozenset().union(*shares) == set(range(3, 11)) if count <= 8 else len(shares) == count
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(shares) == count


def test_shares_of_a_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a quota of four processors among many, each of two processes has two."""
    (tmp_path / "cpu.max").write_text("400000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    first, second = threads.shares(2, tmp_path)
    assert len(first) == len(second) == 2
    assert not first & second
