"""Running a function in a process of its own, with limits on memory, time and files.

Files come from anywhere, and the libraries that read them are written for files that are well.
What a file makes them do ends with that process.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from face_embedding_models import errors
from face_embedding_models.errors import ConversionError, ModelError

_REFUSED, _OUT_OF_MEMORY = 3, 4
_MOST_CHARACTERS = 2000
# prctl(2)
_PR_SET_PDEATHSIG = 1
# As C++ and OpenVINO say it.
_NO_MEMORY = ("bad_alloc", "Failed to allocate")


@dataclass(frozen=True)
class Limits:
    """What a process may need.

    Args:
        memory_bytes: of its own, without what it maps from files.
        processor_s: of all its threads together.
        wall_s: until it has to end.
        file_bytes: that it may write to a file.
    """

    memory_bytes: int
    processor_s: int
    wall_s: int
    file_bytes: int


def run(function: Callable[..., None], limits: Limits, subject: str, **given: str) -> None:
    """Run a function of a module in a process of its own.

    Args:
        function: is imported there by its name.
        limits: of the process.
        subject: what the function is about, with which each error begins.
        given: the function's arguments.

    Raises:
        ModelError: as the function does, or a ConversionError if it needs more than the limits, or
            the process ends otherwise.
    """
    task = {
        "module": function.__module__,
        "function": function.__name__,
        "limits": asdict(limits),
        "given": given,
        "parent": os.getpid(),
    }
    try:
        done = subprocess.run(  # noqa: S603  # This module itself.
            [sys.executable, "-m", __name__],
            check=False,
            input=json.dumps(task).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limits.wall_s,
            # It imports nothing from the folder that it is started in.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(
            f"{subject}: converting it took more than {limits.wall_s} s; is the file damaged?"
        ) from error
    memory = f"{limits.memory_bytes >> 20} MiB of memory"
    if done.returncode == _REFUSED:
        kind, _, message = done.stdout.decode().partition(" ")
        raise getattr(errors, kind)(f"{subject}: {message}")
    if done.returncode == _OUT_OF_MEMORY:
        raise ConversionError(
            f"{subject}: converting it needs more than {memory}; is the file damaged?"
        )
    if done.returncode == -signal.SIGXCPU:
        raise ConversionError(
            f"{subject}: converting it took more than {limits.processor_s} s of processor time; is "
            f"the file damaged?"
        )
    if done.returncode != 0:
        raise ConversionError(
            f"{subject}: converting it ended with {_ending(done.returncode)}, at a limit of "
            f"{memory}; the file is damaged, or needs more"
        )


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def main() -> int:
    """Run the function that standard input names; return the exit status."""
    task: dict[str, Any] = json.load(sys.stdin)
    _end_with(task["parent"])
    # What is told belongs to the caller alone, whatever libraries print.
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit(Limits(**task["limits"]))
    try:
        function = getattr(importlib.import_module(task["module"]), task["function"])
        function(**task["given"])
    except Exception as error:
        if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
            return _OUT_OF_MEMORY
        kind = type(error) if isinstance(error, ModelError) else ConversionError
        with told:
            told.write(f"{kind.__name__} {_refusal(error):.{_MOST_CHARACTERS}}")
        return _REFUSED
    return 0


def _end_with(parent: int) -> None:
    """Have this process end with the one that waits for it, where the system can do that."""
    be_killed_with_parent()
    if os.getppid() != parent:  # It ended before.
        sys.exit()


def be_killed_with_parent() -> None:
    """Have this process be killed when its parent ends, where the system can do that."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(limits: Limits) -> None:
    for kind, value in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.processor_s),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        # Where a system has no such limit, or a lower one already, there is the one on time.
        with contextlib.suppress(OSError, ValueError):
            _, most = resource.getrlimit(kind)
            resource.setrlimit(kind, (value, most))


def _refusal(error: Exception) -> str:
    if isinstance(error, ModelError):
        return str(error)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the file cannot be converted: {lines[-1]:.300}"


if __name__ == "__main__":
    sys.exit(main())
