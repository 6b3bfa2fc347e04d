"""`python -m face_embedding_server`, and the command `face-embedding-server`."""

import sys
from typing import NoReturn

from face_embedding_server import ending
from face_embedding_server.cli import printing

# What the command line needs is in an extra, and its program is installed without it too.
_OWN = ("face_embedding", "face_embedding_models", "face_embedding_server")


def run() -> NoReturn:
    """Run the command line, and end the process."""
    printing.open_streams()
    try:
        from face_embedding_server.cli.main import main

        status = main()
    except KeyboardInterrupt:
        # While it imports what it needs, which takes a while.
        sys.stderr.write("face-embedding-server: interrupted\n")
        status = 130
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OWN:
            raise
        sys.stderr.write(
            f"face-embedding-server: error: {missing} is not installed, which the server needs: "
            "pip install 'face-embedding[server]'\n"
        )
        status = 2
    ending.leave(status)


if __name__ == "__main__":
    run()
