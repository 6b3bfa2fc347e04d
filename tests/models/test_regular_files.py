"""Files that are read: only those that are files, and no more than what is expected of them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from face_embedding_models import regular_files


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (os.mkfifo, "is no regular file"),
    "folder": (os.mkdir, "is no regular file"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    "huge": (_sparse, "has more than 1,048,576 bytes"),
    "missing": (lambda _: None, "No such file"),
}


@pytest.mark.parametrize(("make", "message"), UNFIT.values(), ids=UNFIT)
def test_unfit(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    """What is no file, or far too large, is refused at once, by name."""
    path = tmp_path / "file"
    make(path)
    with pytest.raises(OSError, match=message) as refusal:
        regular_files.read(path)
    assert refusal.value.filename in (path, str(path))


def test_link(tmp_path: Path) -> None:
    """A link to a file is as good as the file."""
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert regular_files.read(tmp_path / "link") == b"text"


def test_as_long_as_allowed(tmp_path: Path) -> None:
    """The limit itself is within it."""
    (tmp_path / "file").write_bytes(b"1234")
    assert regular_files.read(tmp_path / "file", 4) == b"1234"
