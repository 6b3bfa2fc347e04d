"""The short form of the soak, and that it would find a leak."""

from pathlib import Path

import pytest
import soak

from face_embedding_models.store import Store
from support.processes import serving

LEAKING = (str(Path(__file__).parent / "leaking_server.py"),)
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only on Linux")


@needs_proc
@pytest.mark.slow
@pytest.mark.alone
def test_short_soak(store: Store) -> None:
    """Under mixed load no good call fails, and memory stays within its bounds."""
    with serving(store.root) as running:
        report = soak.soak(running, 20)
    assert report.broken == []
    assert min(report.calls.values()) > 0


@needs_proc
@pytest.mark.slow
@pytest.mark.alone
def test_leak(store: Store) -> None:
    """A server that keeps what it embeds is found out, by its memory and nothing else."""
    with serving(store.root, program=LEAKING) as running:
        report = soak.soak(running, 20)
    assert ["memory grew" in promise for promise in report.broken] == [True]


def test_report() -> None:
    """Memory that comes and goes is no growth, and a call that failed is a broken promise."""
    report = soak.Report(1, memory_kb=[0, 0, *[5000, 90_000] * 8])
    assert report.broken == []
    report.failures["photographs: INTERNAL"] += 1
    assert report.broken == ["1 times photographs: INTERNAL"]
