"""The files that downloads are written to, which outlast a download that broke off.

They are in the user's cache, outside the store, and locked while somebody writes them.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from face_embedding_models.errors import FetchError

_KEPT_S = 24 * 3600


@contextlib.contextmanager
def partial(url: str) -> Iterator[Path]:
    """Give a file for the download of an address, with what is there of it from before.

    It is nobody else's meanwhile, and gone afterwards, unless the download broke off.
    """
    shared = _cache_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"
    path, descriptor = _claim(shared)
    keep = False
    try:
        yield path
    except (FetchError, KeyboardInterrupt):
        keep = path == shared and size_of(path) > 0
        raise
    finally:
        if not keep:
            _discard(path)
        os.close(descriptor)


def _claim(shared: Path) -> tuple[Path, int]:
    """Return a file for a download, and the descriptor whose closing unlocks it.

    It is another one than the file asked for where that is somebody else's or cannot be made.
    """
    folders: list[Path | None] = [None]
    if shared.is_absolute():  # It is not where nobody has a home.
        folders.insert(0, shared.parent)
        with contextlib.suppress(OSError):
            shared.parent.mkdir(parents=True, exist_ok=True)
            _sweep(shared.parent)
            if descriptor := _locked(shared):
                return shared, descriptor
    for folder in folders:
        # Nobody may have a home there.
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(
                prefix="face-embedding-", suffix=".part", dir=folder
            )
            return Path(name), descriptor
    raise FetchError(f"neither {shared.parent} nor a temporary folder can be written")


def _locked(path: Path) -> int | None:
    """Open and lock a file, and return its descriptor, or nothing if somebody else has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # It was discarded before it was locked.


def restart(path: Path) -> None:
    """Forget what there is of a download, so that the next attempt begins anew."""
    os.truncate(path, 0)
    note_of(path).unlink(missing_ok=True)


def _discard(path: Path) -> None:
    # In this order, as notes alone would not be swept.
    note_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def note_of(target: Path) -> Path:
    """Return the file that tells what a download is of."""
    return target.with_suffix(".json")


def size_of(path: Path) -> int:
    """Return how much there is of a download."""
    return path.stat().st_size


def _cache_folder() -> Path:
    # Without a home some versions of platformdirs raise, and others leave the tilde.
    try:
        return platformdirs.user_cache_path("face-embedding") / "downloads"
    except RuntimeError:
        return Path("~")


def _sweep(folder: Path) -> None:
    """Remove what nobody has come back for."""
    for left in folder.glob("*.part"):
        # Another process may be sweeping too.
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _KEPT_S:
                _discard(left)
