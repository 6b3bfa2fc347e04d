"""The end of a process that serves."""

import atexit
import contextlib
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process as soon as all that is written is written.

    The interpreter's own end is left out: gRPC's threads do not survive it, and abort about one
    process of thirty that has stopped well.
    """
    atexit._run_exitfuncs()  # What is registered is to run, without the rest.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
