"""Embedding by a running server, and the options that say how to reach it.

It uses the client's public API, the one exception to the rule that server and client know nothing
of each other: what evaluates a server from outside is a caller like any other.
"""

import argparse
import codecs
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from face_embedding_client import (
    FaceEmbeddingClient,
    FaceEmbeddingError,
    Photograph,
    RawFace,
    Tls,
)
from face_embedding_models import regular_files
from face_embedding_server.evaluation.embedding import (
    Embedder,
    EmbeddingError,
    Evaluated,
    UnusableImageError,
)
from face_embedding_server.faces.face import Detect, EncodedImage, Face, Selection
from face_embedding_server.inference.embeddings import Vector

_TIMEOUT_S = 60
# The code of what is wrong with one image; others would be the same for the next one.
_OF_THE_IMAGE = "INVALID_ARGUMENT"
_SELECT: dict[Selection, Literal["only", "central", "largest"]] = {
    Selection.ONLY: "only",
    Selection.CENTRAL: "central",
    Selection.LARGEST: "largest",
}


@dataclass(frozen=True)
class Remote:
    """A running server, and what it wants to see of its callers.

    Args:
        address: `HOST:PORT`.
        model: one of its models; empty or None for its default one.
        tls: whether to speak TLS, which each of the three files below implies.
        ca: PEM of the CAs to trust; None for those that this system trusts.
        certificate: PEM of a client certificate, with the private key in `key`.
        key: PEM of its private key.
        token_file: a file with the caller's token, which is sent over TLS only.
    """

    address: str
    model: str | None = None
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None


def add_options(command: argparse.ArgumentParser) -> None:
    """Add `--address` and what else a `Remote` is made of, but for the model, to a command."""
    group = command.add_argument_group("a running server")
    group.add_argument("--address", metavar="HOST:PORT", help="the server, instead of a model here")
    group.add_argument(
        "--tls", action="store_true", help="speak TLS, and trust the CAs that this system trusts"
    )
    for name, summary in (
        ("--ca", "PEM of the CAs to trust instead; implies --tls"),
        ("--certificate", "PEM of a client certificate; needs --key, implies --tls"),
        ("--key", "PEM of its private key"),
        ("--token-file", "a file with the caller's token; needs TLS"),
    ):
        group.add_argument(name, type=Path, metavar="FILE", help=summary)


def from_options(options: argparse.Namespace) -> Remote:
    """Return what a command was told."""
    return Remote(**{each.name: getattr(options, each.name) for each in fields(Remote)})


@contextlib.contextmanager
def of_server(remote: Remote) -> Iterator[Embedder]:
    """Use a running server.

    Raises:
        EmbeddingError: if a file cannot be used, or the server does not answer.
    """
    with _client(remote) as client:

        def embed(face: Face) -> Vector:
            try:
                # One of many, which are not to be lost where a server is started anew.
                found = client.embed(_as_sent(face), raw=True, outlast=True)
            except FaceEmbeddingError as error:
                if error.code.name == _OF_THE_IMAGE:
                    raise UnusableImageError(error.reason, error.message) from error
                raise _no_answer(remote, error) from error
            if found.space != info.embedding_space:
                raise EmbeddingError(
                    f"{remote.address} embeds into {found.space} by now, which cannot be compared "
                    f"with {info.embedding_space}, as it did before: evaluate it anew"
                )
            return found.values

        try:
            info = client.model_info()
        except FaceEmbeddingError as error:
            raise _no_answer(remote, error) from error
        evaluated = Evaluated(
            name=info.name,
            backend=info.backend,
            precision=info.precision,
            detector=info.detector,
            embedding_space=info.embedding_space,
            embedding_size=info.embedding_size,
            weights_note=info.weights_note,
        )
        yield Embedder(evaluated, embed)


def _no_answer(remote: Remote, error: FaceEmbeddingError) -> EmbeddingError:
    where = "" if error.message.startswith(remote.address) else f"{remote.address}: "
    return EmbeddingError(f"{where}{error.message}")


def _as_sent(face: Face) -> bytes | RawFace | Photograph:
    """Return a face as the client takes it."""
    image = face.image
    sent = (
        image.data
        if isinstance(image, EncodedImage)
        else RawFace(image.pixels, image.channel_order)
    )
    preparation = face.preparation
    return (
        Photograph(
            sent,
            select=_SELECT[preparation.selection],
            upright="auto" if preparation.upright else "as_is",
        )
        if isinstance(preparation, Detect)
        else sent
    )


def _client(remote: Remote) -> FaceEmbeddingClient:
    if bool(remote.certificate) != bool(remote.key):
        raise EmbeddingError("a client certificate needs both --certificate and --key")
    token = _read(remote.token_file)
    if token is not None and not _uses_tls(remote):
        raise EmbeddingError("--token-file: a token is sent over TLS only; give --tls or --ca")
    text = (token or b"").decode("utf-8", "replace").strip()
    if token is not None and not (text and text.isascii() and text.isprintable()):
        raise EmbeddingError(f"{remote.token_file} holds no token")
    try:
        tls = Tls(_read(remote.ca), _read(remote.certificate), _read(remote.key))
        return FaceEmbeddingClient(
            remote.address,
            model=remote.model or "",
            timeout_s=_TIMEOUT_S,
            tls=tls if _uses_tls(remote) else None,
            token=text,
        )
    except ValueError as error:
        raise EmbeddingError(str(error)) from error


def _uses_tls(remote: Remote) -> bool:
    return remote.tls or any((remote.ca, remote.certificate, remote.key))


def _read(file: Path | None) -> bytes | None:
    try:
        return None if file is None else regular_files.read(file).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise EmbeddingError(f"{file} cannot be read: {error.strerror}") from error
