"""How commands write a file: as a whole, or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from face_embedding_client.cli.usage import UsageError


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which takes the place of the one at a path when it is on disk.

    Until then, and if anything fails, an earlier file there stays as it was.

    Raises:
        UsageError: if it cannot be written, as on a full disk.
    """
    target = path.resolve()  # A link stays one.
    pending = target.with_name(f".face-embedding-{secrets.token_hex(8)}")
    try:
        with pending.open("xb") as file:
            yield file
            file.flush()
            if target.exists():
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            os.fsync(file.fileno())
        pending.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        pending.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Have the new name written to disk; some network file systems cannot."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
