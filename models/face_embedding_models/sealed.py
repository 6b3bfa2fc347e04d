"""Folders that appear whole or not at all, and whose files are checked when read.

A sealed folder holds files and `record.json`, which has the SHA-256 of each of them and what its
writer wanted to remember. It is written elsewhere, flushed to disk, and renamed into place.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from face_embedding_models.errors import StoreError

RECORD_FILE = "record.json"
_PENDING_PREFIX = ".pending-"
# By then whoever wrote it was killed: the largest network is written in seconds.
_ABANDONED_AFTER_S = 3600


def write(target: Path, fill: Callable[[Path], None], record: Mapping[str, Any]) -> None:
    """Make the folder `target`, replacing one that is there.

    Args:
        target: the folder's final path.
        fill: writes the files into the folder it is given.
        record: what to remember, as JSON.

    Raises:
        StoreError: if the folder cannot be written, for lack of space or of permission.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        pending = Path(tempfile.mkdtemp(prefix=_PENDING_PREFIX, dir=target.parent))
    except OSError as error:
        raise StoreError(f"cannot write to the store: {error}") from error
    try:
        fill(pending)
        sums = {file.name: _sha256(file.read_bytes()) for file in sorted(pending.iterdir())}
        document = {**record, "files": sums}
        (pending / RECORD_FILE).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        pending.chmod(0o755)
        for path in (*pending.iterdir(), pending):
            _flush(path)
        _rename_over(pending, target)
        _flush(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error}") from error
    finally:
        shutil.rmtree(pending, ignore_errors=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a sealed folder.

    Raises:
        StoreError: if it is missing or damaged.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / RECORD_FILE} is missing or damaged: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise StoreError(f"{folder / RECORD_FILE} is damaged: it lists no files")
    return record


def read_file(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of a sealed folder.

    Raises:
        StoreError: if the file is missing, or is not what was sealed.
    """
    expected = read_record(folder)["files"].get(name)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise StoreError(f"{folder / name} cannot be read: {error}") from error
    if _sha256(data) != expected:
        raise StoreError(
            f"{folder / name} was changed since it was written (SHA-256 {_sha256(data)}, "
            f"expected {expected}); import or convert the model again"
        )
    return data


def write_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old or the new one, never a part."""
    pending = path.with_name(f"{_PENDING_PREFIX}{path.name}-{os.getpid()}")
    try:
        pending.write_text(text, "utf-8")
        _flush(pending)
        pending.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error
    finally:
        pending.unlink(missing_ok=True)


def _rename_over(source: Path, target: Path) -> None:
    """Rename a folder into place; a folder that is there moves aside first and is removed."""
    aside = Path(tempfile.mkdtemp(prefix=_PENDING_PREFIX, dir=target.parent))
    with contextlib.suppress(FileNotFoundError):
        target.rename(aside / target.name)
    source.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes were writing."""
    for left in folder.glob(f"{_PENDING_PREFIX}*/"):
        # Another process may be done with it by now.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
