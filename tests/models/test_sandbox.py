"""A function in a process of its own, with limits."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from face_embedding_models import sandbox
from face_embedding_models.errors import ConversionError
from face_embedding_models.sandbox import Limits
from support import wait_until
from support.processes import child_environment

pytestmark = pytest.mark.slow
LIMITS = Limits(memory_bytes=1 << 30, processor_s=20, wall_s=60, file_bytes=1 << 20)


def test_function(tmp_path: Path) -> None:
    """It does what it does in any process."""
    (tmp_path / "a").write_text("text")
    sandbox.run(shutil.copyfile, LIMITS, "x", src=str(tmp_path / "a"), dst=str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "text"


def test_file_size(tmp_path: Path) -> None:
    """It cannot write a file beyond the limit."""
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    with pytest.raises(ConversionError, match=r"x: the file cannot be converted: .*File too large"):
        sandbox.run(shutil.copyfile, LIMITS, "x", src=str(tmp_path / "a"), dst=str(tmp_path / "b"))
    assert (tmp_path / "b").stat().st_size <= LIMITS.file_bytes


# It says which process does the work, and waits.
WAITING = """
import os, signal, sys
def work(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    signal.pause()
"""
STARTING = """
import sys, waiting
from face_embedding_models import sandbox
sandbox.run(waiting.work, sandbox.Limits(1 << 30, 20, 60, 1 << 20), "x", path=sys.argv[1])
"""


def test_ends_with_its_parent(tmp_path: Path) -> None:
    """Its process does not outlive the one that waits for it, however that ends."""
    (tmp_path / "waiting.py").write_text(WAITING)
    said = tmp_path / "said"
    with subprocess.Popen(
        [sys.executable, "-c", STARTING, str(said)],
        env=child_environment(tmp_path),
    ) as parent:
        wait_until(lambda: said.exists() and said.read_text() != "")
        parent.kill()
    child = Path("/proc", said.read_text())
    # What is left of it, where nobody takes its status, is no running process.
    wait_until(lambda: not child.exists() or "zombie" in (child / "status").read_text())


ENDS: dict[str, tuple[Callable[..., None], str]] = {
    "waits": (signal.pause, "x: converting it took more than 1 s; is the file damaged"),
    "aborts": (os.abort, "x: converting it ended with SIGABRT, at a limit of 1024 MiB of memory"),
}


@pytest.mark.parametrize(("function", "message"), ENDS.values(), ids=ENDS)
def test_end(function: Callable[..., None], message: str) -> None:
    """What waits for ever, or ends the process, is an error that says so."""
    limits = dataclasses.replace(LIMITS, wall_s=1) if function is signal.pause else LIMITS
    with pytest.raises(ConversionError, match=message):
        sandbox.run(function, limits, "x")
