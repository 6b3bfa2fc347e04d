"""`token`: make a bearer token."""

import argparse

from face_embedding_server.security import access


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing but what runs the command."""
    parser.set_defaults(run=_token)


def _token(_: argparse.Namespace) -> int:
    token, digest = access.new_token()
    print(f"token   {token}\nsha256  {digest}")
    return 0
