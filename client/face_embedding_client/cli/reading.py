"""How commands read images: nothing that has no end, and no more than a server takes."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path

from face_embedding_client._messages import image_too_large

# Any server takes so much, and need not be asked.
_SURELY_TAKEN_BYTES = 1 << 20


def read_image(file: Path, most_bytes: Callable[[], int]) -> bytes:
    """Return the bytes of an image file; of a pipe, once they are written.

    Args:
        file: where it is.
        most_bytes: tells how many the server takes; asked only where there may be more.

    Raises:
        OSError: if it cannot be read, or is a device or a folder.
        InvalidRequestError: if it is larger than the server takes; no file is read then.
    """
    there = file.stat()
    if stat.S_ISCHR(there.st_mode) or stat.S_ISBLK(there.st_mode):
        raise OSError(errno.EINVAL, "it is a device, and no file", str(file))
    is_file = stat.S_ISREG(there.st_mode)
    with file.open("rb") as opened:
        if is_file and there.st_size <= _SURELY_TAKEN_BYTES:
            return opened.read()
        limit = most_bytes()
        if is_file and there.st_size > limit:
            raise image_too_large(there.st_size, limit, "encoded")
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise image_too_large(len(data), limit, "encoded")
    return data
