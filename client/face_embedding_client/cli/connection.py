"""The options of every command that say how to reach the server."""

import argparse
import codecs
import os
from pathlib import Path

from face_embedding_client._channel import (
    DEFAULT_OUTAGE_S,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
)
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Tls
from face_embedding_client.cli.usage import UsageError

_ADDRESS_VARIABLE = "FACE_EMBEDDING_ADDRESS"
_TOKEN_FILE_VARIABLE = "FACE_EMBEDDING_TOKEN_FILE"  # noqa: S105  # The name of a variable.
_DEFAULT_ADDRESS = "127.0.0.1:50051"
_MAX_TIMEOUT_S = 86_400.0
# Of tokens, keys and certificates.
_MOST_BYTES = 1 << 20


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    group = command.add_argument_group("connection")
    group.add_argument(
        "--address",
        default=os.environ.get(_ADDRESS_VARIABLE, _DEFAULT_ADDRESS),
        metavar="HOST:PORT",
        help="the server (default: %(default)s)",
    )
    group.add_argument(
        "--model", default="", metavar="NAME", help="the model (default: the server's default one)"
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT_S,
        help="seconds to wait for each answer",
    )
    group.add_argument(
        "--retries",
        type=int,
        default=DEFAULT_RETRIES,
        help="how often to repeat a call that a server did not take, from 0 to 4 "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--outage",
        type=float,
        default=DEFAULT_OUTAGE_S,
        metavar="SECONDS",
        help="how long to wait for a server that goes away in the middle of files "
        "(default: %(default)g)",
    )
    group.add_argument(
        "--round-robin",
        action="store_true",
        help="spread calls over all addresses of the name, such as dns:///HOST:PORT, that serve",
    )
    group.add_argument(
        "--tls", action="store_true", help="speak TLS, and trust the CAs that this system trusts"
    )
    group.add_argument(
        "--ca", type=Path, metavar="FILE", help="PEM of the CAs to trust instead; implies --tls"
    )
    group.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="PEM of a client certificate; needs --key, implies --tls",
    )
    group.add_argument("--key", type=Path, metavar="FILE", help="PEM of its private key")
    group.add_argument(
        "--server-name",
        default="",
        metavar="NAME",
        help="the name in the server's certificate, if it is not HOST; implies --tls",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        default=os.environ.get(_TOKEN_FILE_VARIABLE) or None,
        metavar="FILE",
        help=f"a file with the caller's token (default: what {_TOKEN_FILE_VARIABLE} names)",
    )
    group.add_argument(
        "--allow-plaintext-token",
        action="store_true",
        help="send the token without TLS too, over a network that is trusted",
    )


def connect(options: argparse.Namespace) -> FaceEmbeddingClient:
    """Return a client for the server that the options name.

    Raises:
        UsageError: if a file cannot be read, or the options do not go together.
    """
    token = _read(options.token_file, "token-file")
    if token is not None and not token.strip():
        raise UsageError(f"--token-file: {options.token_file} is empty")
    try:
        return FaceEmbeddingClient(
            options.address,
            model=options.model,
            timeout_s=options.timeout,
            tls=_tls(options),
            token=(token or b"").decode("utf-8", "replace").strip(),
            allow_plaintext_token=options.allow_plaintext_token,
            round_robin=options.round_robin,
            retries=options.retries,
            outage_s=options.outage,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _tls(options: argparse.Namespace) -> Tls | None:
    files = (options.ca, options.certificate, options.key)
    if not (options.tls or options.server_name or any(files)):
        return None
    return Tls(
        _read(options.ca, "ca"),
        _read(options.certificate, "certificate"),
        _read(options.key, "key"),
        options.server_name,
    )


def _read(file: Path | None, option: str) -> bytes | None:
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--{option}: {file} cannot be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"--{option}: {file} has more than {_MOST_BYTES:,} bytes")
    # Without the mark that some editors begin a text with.
    return data.removeprefix(codecs.BOM_UTF8)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds
