"""`python -m face_embedding_server`, and the command `face-embedding-server`."""

import atexit
import contextlib
import os
import sys
from typing import NoReturn

from face_embedding_server.cli.main import main


def run() -> NoReturn:
    """Run the command line, and end the process as soon as all that is written is written.

    The interpreter's own end is left out: gRPC's threads do not survive it, and abort about one
    process of thirty that has stopped well.
    """
    status = main()
    atexit._run_exitfuncs()  # What is registered is to run, without the rest.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
