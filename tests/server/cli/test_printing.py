"""What a command line says where nobody reads it, or it lacks something: never a traceback."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from face_embedding_models import store
from face_embedding_models.errors import StoreError
from face_embedding_models.installing import partial_downloads
from support.processes import child_environment

PROGRAMS = ("face_embedding_server", "face_embedding_client")
LIST = ("models", "list", "--store", "none")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home, as in a container."""
    for name in list(os.environ):
        if name == "HOME" or name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getuid", lambda: 54321)


def program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def buffered() -> dict[str, str]:
    """The environment of a program that prints at its end, as it does by itself."""
    return {**child_environment(), "PYTHONUNBUFFERED": ""}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [(PROGRAMS[0], LIST), (PROGRAMS[0], ("--help",)), (PROGRAMS[1], ("--help",))],
    ids=["list", "server's help", "client's help"],
)
def test_closed_pipe(name: str, arguments: tuple[str, ...]) -> None:
    """A command whose pipe nobody reads ends with the status of SIGPIPE, without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            program(name, *arguments),
            check=False,
            stdout=closed,
            stderr=subprocess.PIPE,
            env=buffered(),
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [(PROGRAMS[0], LIST), (PROGRAMS[1], ("--help",))],
    ids=["server", "client"],
)
def test_full_disk(name: str, arguments: tuple[str, ...]) -> None:
    """What cannot be printed for want of room is told in a line."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            program(name, *arguments),
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=buffered(),
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_closed_streams() -> None:
    """With its standard streams closed a command does what it does, and says nothing."""
    script = f"{shlex.join(program(PROGRAMS[0], *LIST))} <&- >&- 2>&-"
    done = subprocess.run(
        ["/bin/sh", "-c", script], check=False, capture_output=True, env=buffered()
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["pydantic", "platformdirs"])
def test_without_extra(missing: str, tmp_path: Path) -> None:
    """Without the extra `server` its program says how to get it."""
    # A module that stands before the real one, and is as one that is not there.
    text = f"raise ModuleNotFoundError('missing', name={missing!r})"
    (tmp_path / f"{missing}.py").write_text(text)
    done = subprocess.run(
        program(PROGRAMS[0], *LIST),
        check=False,
        capture_output=True,
        text=True,
        env=child_environment(tmp_path),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"face-embedding-server: error: {missing} is not installed, which the server needs: "
        "pip install 'face-embedding[server]'\n"
    )


@pytest.mark.usefixtures("homeless")
def test_no_home_for_the_store() -> None:
    """Who has no home is told to name a store."""
    with pytest.raises(StoreError, match=r"no home folder .* --store or FACE_EMBEDDING_STORE"):
        store.default_root()


@pytest.mark.usefixtures("homeless")
def test_no_home_for_downloads() -> None:
    """Who has no home downloads to a temporary folder."""
    with partial_downloads.partial("https://example.org/x") as path:
        assert path.exists()
