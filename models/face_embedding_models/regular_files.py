"""Files that are files: not devices, pipes or folders, which can be endless or never answer."""

import codecs
import contextlib
import errno
import os
import secrets
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


def write(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        OSError: if it cannot be written. It names the file, which the system's own does not if the
            disk is full.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole, and an earlier one stays if that fails.

    Raises:
        OSError: as `write` does.
    """
    if path.exists() and not path.is_file():
        write(path, data)  # Such as a terminal.
        return
    target = path.resolve()  # A link stays one.
    pending = target.with_name(f".face-embedding-{secrets.token_hex(8)}")
    try:
        write(pending, data)
        if target.exists():
            pending.chmod(stat.S_IMODE(target.stat().st_mode))
        with pending.open("rb") as file:
            os.fsync(file.fileno())
        pending.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            pending.unlink()
