"""Folders that appear whole or not at all, and whose files are checked when read.

A sealed folder holds files and `record.json`, which has the SHA-256 of each of them and what its
writer wanted to remember. It is written elsewhere, flushed to disk, and renamed into place; one
that is there changes places with it in the same step. The folder that it is written in is locked
meanwhile, which tells it from what a killed process left.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from face_embedding_models import regular_files
from face_embedding_models.errors import StoreError
from face_embedding_models.store import records

RECORD_FILE = "record.json"
_PENDING_PREFIX = ".pending-"
_REPLACED_PREFIX = ".replaced-"
_CHUNK_BYTES = 1 << 20
# Of Linux: `linux/fcntl.h` and `linux/fs.h`.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class _Seal:
    """What every record has: the digests of the folder's files."""

    files: dict[str, records.Sha256]


def write(target: Path, fill: Callable[[Path], None], record: Mapping[str, Any]) -> None:
    """Make the folder `target`, replacing one that is there.

    Args:
        target: the folder's final path.
        fill: writes the files into the folder it is given.
        record: what to remember, as JSON.

    Raises:
        StoreError: if the folder cannot be written, for lack of space or of permission.
    """
    with pending_folder(target.parent) as pending:
        try:
            fill(pending)
            _seal(pending, record)
            place(pending, target)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error}") from error


@contextlib.contextmanager
def pending_folder(parent: Path) -> Iterator[Path]:
    """Make a folder to write in, inside `parent`, which is gone at the end unless it was moved.

    Raises:
        StoreError: if it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(parent)
        folder, lock = _make_pending(parent)
    except OSError as error:
        raise StoreError(f"cannot write to the store: {error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def place(source: Path, target: Path) -> None:
    """Move a folder into place, flushed to disk.

    A folder that is there changes places with it in one step, and is at `source` afterwards. Where
    the system cannot do that, the old one is aside for a moment, from where `remove_abandoned`
    brings it back if this process is killed.
    """
    source.chmod(0o755)
    while not (_rename(source, target) or _exchange(source, target)):
        _move_aside(target)
    flush(target.parent)
    remove_abandoned(target.parent)


def _rename(source: Path, target: Path) -> bool:
    """Move a folder to where none is; return whether none was there."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _exchange(source: Path, target: Path) -> bool:
    """Let two folders change places; return whether the system can, and both were there."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(source), os.fsencode(target)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    # Some file systems have no exchange, and another process may have removed the target.
    if number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.ENOENT):
        raise OSError(number, os.strerror(number), str(target))
    return False


def _move_aside(target: Path) -> None:
    aside = target.with_name(f"{_REPLACED_PREFIX}{target.name}")
    with locked(target.parent), contextlib.suppress(FileNotFoundError):
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes, and threads, out of the same block for the same folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder so that readers see all of it or nothing.

    Raises:
        StoreError: if it cannot be removed.
    """
    with pending_folder(folder.parent) as aside:
        try:
            folder.rename(aside / folder.name)
        except OSError as error:
            raise StoreError(f"cannot remove {folder}: {error}") from error


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes were writing directly in a folder.

    What they had moved aside and not replaced yet is the only copy, and goes back to its place.
    """
    for aside in folder.glob(f"{_REPLACED_PREFIX}*"):
        target = folder / aside.name.removeprefix(_REPLACED_PREFIX)
        with locked(folder), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside) if target.exists() else aside.rename(target)
    for left in folder.glob(f"{_PENDING_PREFIX}*"):
        # It is locked while it is being written, and may be gone by now.
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(descriptor)


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a sealed folder.

    Raises:
        StoreError: if it is missing or damaged, or of a later version.
    """
    path = folder / RECORD_FILE
    record = records.read(path)
    records.checked(_Seal, record, path)
    return record


def read_file(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of a sealed folder.

    Raises:
        StoreError: if the file is missing, or is not what was sealed.
    """
    expected = read_record(folder)["files"].get(name)
    try:
        data = regular_files.read(folder / name, regular_files.DATA_BYTES)
    except OSError as error:
        raise StoreError(f"{folder / name} cannot be read: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise StoreError(
            f"{folder / name} was changed since it was written (SHA-256 {digest}, "
            f"expected {expected}); {records.REMEDY}"
        )
    return data


def write_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old or the new one, never a part."""
    with pending_folder(path.parent) as folder:
        try:
            pending = folder / path.name
            regular_files.write(pending, text.encode())
            flush(pending)
            pending.replace(path)
            flush(path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error}") from error


def _seal(folder: Path, record: Mapping[str, Any]) -> None:
    sums = {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
    text = records.to_text({**record, "files": sums})
    regular_files.write(folder / RECORD_FILE, text.encode())
    for path in (*folder.iterdir(), folder):
        flush(path)


def _make_pending(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor whose closing unlocks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PENDING_PREFIX, dir=parent))
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # It was swept before it was opened.
        # Some network file systems have no locks, and nothing is swept there.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            return folder, descriptor
        os.close(descriptor)  # It was swept before it was locked.


def flush(path: Path) -> None:
    """Have a file, or what a folder lists, written to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in parts."""
    state = hashlib.sha256()
    with regular_files.open_to_read(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()
