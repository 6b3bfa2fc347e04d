"""Embedding by a running server, and the options that say how to reach it."""

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import grpc
import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_server.embeddings import Vector
from face_embedding_server.errors import Refusal
from face_embedding_server.evaluation.embedding import Embedder, EmbeddingError

_TIMEOUT_S = 60


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
    model = remote.model or ""
    metadata = _metadata(remote)
    with _channel(remote) as channel:
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)

        def embed(face: pb.Face) -> Vector:
            request = pb.EmbedRequest(
                faces=[face], model=model, normalization=pb.NORMALIZATION_NONE
            )
            try:
                response = stub.Embed(request, timeout=_TIMEOUT_S, metadata=metadata)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                    raise Refusal(pb.ERROR_REASON_UNSPECIFIED, error.details() or "") from error
                raise _no_answer(remote, error) from error
            return np.array(response.results[0].embedding.values, np.float32)

        try:
            info = stub.GetModelInfo(
                pb.GetModelInfoRequest(model=model), timeout=_TIMEOUT_S, metadata=metadata
            )
        except grpc.RpcError as error:
            raise _no_answer(remote, error) from error
        yield Embedder(info, embed)


def _uses_tls(remote: Remote) -> bool:
    return remote.tls or any((remote.ca, remote.certificate, remote.key))


def _channel(remote: Remote) -> grpc.Channel:
    if not _uses_tls(remote):
        return grpc.insecure_channel(remote.address)
    if bool(remote.certificate) != bool(remote.key):
        raise EmbeddingError("a client certificate needs both --certificate and --key")
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(remote.ca),
        private_key=_read(remote.key),
        certificate_chain=_read(remote.certificate),
    )
    return grpc.secure_channel(remote.address, credentials)


def _metadata(remote: Remote) -> tuple[tuple[str, str], ...]:
    token = _read(remote.token_file)
    if token is None:
        return ()
    if not _uses_tls(remote):
        raise EmbeddingError("--token-file: a token is sent over TLS only; give --tls or --ca")
    text = token.decode("utf-8", "replace").strip()
    if not (text and text.isascii() and text.isprintable()):
        raise EmbeddingError(f"{remote.token_file} holds no token")
    return (("authorization", f"Bearer {text}"),)


def _read(file: Path | None) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        raise EmbeddingError(f"{file} cannot be read: {error.strerror}") from error


def _no_answer(remote: Remote, error: grpc.RpcError) -> EmbeddingError:
    return EmbeddingError(f"{remote.address}: {error.details() or error.code().name}")
