"""What commands print, to whatever reads it."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator


def open_streams() -> None:
    """Open what a caller closed of standard input, output and error, to nowhere.

    A file or connection that is opened later would take the number of a closed one, and get what
    libraries print; and Python prints errors to standard output where there is no other.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It takes the least number that is free.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def show_anything() -> None:
    """Let names be printed that a terminal cannot show, or that are no text: as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Print what is not printed yet."""
    if sys.stdout:
        sys.stdout.flush()


def fall_silent() -> None:
    """Print nothing more, as what reads it is gone, or its disk is full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # Not every stream is a file, as in tests.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def as_far_as_possible() -> Iterator[None]:
    """Let what is printed be lost if nobody can read it, and go on."""
    try:
        yield
        flush()
    except OSError:
        fall_silent()
