"""A full disk, and a limit on what a file may hold: what is said, and what stays."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from face_embedding_models import regular_files
from face_embedding_models.store import Store
from support import MOBILE

# A quarter of the weights.
SMALL = 1 << 20


def limited(store: Store, *command: str, most_bytes: int) -> tuple[int, str]:
    """Run a command about models that may write no larger file; return its status and error."""
    done = subprocess.run(
        [sys.executable, "-m", "face_embedding_server", "models", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "FACE_EMBEDDING_STORE": str(store.root)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )
    return done.returncode, done.stderr


@pytest.fixture
def own(store: Store, tmp_path: Path) -> Store:
    """A store that a test may change."""
    shutil.copytree(store.root, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [SMALL, 2000], ids=["weights", "graph"])
def test_convert(most_bytes: int, own: Store) -> None:
    """Converting says which file has no room, and the IR that was there stays."""
    before = own.get(MOBILE).fingerprint
    status, err = limited(own, "convert", MOBILE, most_bytes=most_bytes)
    assert status == 2
    assert "model.xml" in err
    assert "File too large" in err
    assert "basic_ios" not in err
    assert own.get(MOBILE).fingerprint == before


@pytest.mark.slow
def test_synthesize(own: Store) -> None:
    """So does what writes weights."""
    before = own.get(MOBILE).fingerprint
    status, err = limited(own, "synthesize", MOBILE, most_bytes=SMALL)
    assert status == 2
    assert "File too large" in err
    assert "model-0000.params" in err
    assert own.get(MOBILE).fingerprint == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a model and no other, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    made = (
        mount
        and unmount
        and subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
        )
    )
    if not made or made.returncode:
        pytest.skip("this user may mount no disk")
    yield folder
    subprocess.run([str(unmount), str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["convert", "synthesize"])
def test_disk(command: str, small_disk: Path, store: Store) -> None:
    """On a full disk the error says so, with the file, and the model there stays in use."""
    shutil.copytree(store.root, small_disk / "store")
    own = Store(small_disk / "store")
    before = own.get(MOBILE).fingerprint
    status, err = limited(own, command, MOBILE, most_bytes=1 << 30)
    assert status == 2
    assert "No space left on device" in err
    assert str(own.root) in err
    assert own.get(MOBILE).fingerprint == before


def test_write() -> None:
    """The error of a full disk names the file."""
    with pytest.raises(OSError, match="/dev/full") as raised:
        regular_files.write(Path("/dev/full"), b"text")
    assert raised.value.errno == errno.ENOSPC


def test_replace(tmp_path: Path) -> None:
    """A file that is replaced keeps its mode and its links, and nothing is left beside it."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    regular_files.replace(link, b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_replace_fails(tmp_path: Path) -> None:
    """Where there is no room, the earlier file stays, and nothing is left beside it."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    code = (
        "import pathlib, resource, sys; from face_embedding_models import regular_files;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10));"
        "regular_files.replace(pathlib.Path(sys.argv[1]), bytes(20))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], check=False, capture_output=True, text=True
    )
    assert f"File too large: '{file}'" in done.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]
