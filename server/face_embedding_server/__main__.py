"""`python -m face_embedding_server`, and the command `face-embedding-server`."""

from typing import NoReturn

from face_embedding_server import ending
from face_embedding_server.cli.main import main


def run() -> NoReturn:
    """Run the command line, and end the process."""
    ending.leave(main())


if __name__ == "__main__":
    run()
