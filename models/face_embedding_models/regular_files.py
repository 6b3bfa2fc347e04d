"""Files that are files: not devices, pipes or folders, which can be endless or never answer."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_to_read(path: Path) -> BinaryIO:
    """Open a file, or what a link leads to.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    # Opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def read(path: Path, most_bytes: int | None = None) -> bytes:
    """Return the bytes of a file; see `open_to_read`.

    Raises:
        OSError: if it has more bytes than the most, too.
    """
    with open_to_read(path) as file:
        data = file.read() if most_bytes is None else file.read(most_bytes + 1)
    if most_bytes is not None and len(data) > most_bytes:
        raise OSError(f"{path} has more than {most_bytes} bytes")
    return data
