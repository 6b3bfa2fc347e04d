"""Files that are files: not devices, pipes or folders, which can be endless or never answer."""

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Of what people write, such as settings and certificates, and of what this program notes.
TEXT_BYTES = 1 << 20
# Of lists of pairs: those of LFW have 160 KB.
TABLE_BYTES = 1 << 26
# Of weights, and of images in one file.
DATA_BYTES = 1 << 31
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_to_read(path: Path) -> BinaryIO:
    """Open a file, or what a link leads to.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    # Opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read(path: Path, most_bytes: int = TEXT_BYTES) -> bytes:
    """Return the bytes of a file; see `open_to_read`.

    Raises:
        OSError: if it has more bytes than the most, too.
    """
    with open_to_read(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most_bytes:
            # No more than there is, as room is made for all that is asked for.
            data = file.read(size + 1)
            if len(data) <= most_bytes:
                return data
    raise OSError(errno.EFBIG, f"has more than {most_bytes:,} bytes", str(path))


def read_text(path: Path, most_bytes: int = TEXT_BYTES) -> str:
    """Return the text of a file in UTF-8, without the mark that some editors begin it with.

    Raises:
        OSError: as `read` does.
        UnicodeDecodeError: if it is no UTF-8.
    """
    data = read(path, most_bytes)
    if data.startswith(_UTF_16):
        raise UnicodeDecodeError("utf-8", data, 0, 2, "it is UTF-16; save it as UTF-8")
    return data.decode("utf-8-sig")
