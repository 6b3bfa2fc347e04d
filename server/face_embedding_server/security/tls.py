"""TLS: the server's certificate, and the authorities that client certificates have to come from.

All are PEM files, and read anew for new connections when they change.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from face_embedding_models import regular_files
from face_embedding_server.errors import OperatorError
from face_embedding_server.security.watched import Watched

_MIN_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1")


class TlsError(OperatorError):
    """A certificate or a key cannot be used; the message names the file and why."""


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files: the certificate with its chain, its key, and the clients' authorities.

    With authorities, a client has to show a certificate of one of them; without, it needs none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class _Identity:
    """What gRPC is given, and when the certificate expires, in seconds since 1970."""

    configuration: grpc.ServerCertificateConfiguration
    expires_s: float


def server_credentials(files: TlsFiles, on_read: Callable[[float], None]) -> grpc.ServerCredentials:
    """Return credentials that follow their files.

    Args:
        files: the files.
        on_read: told the time of expiry, in seconds since 1970, of each certificate that is used.

    Raises:
        TlsError: if a file cannot be read, key and certificate do not fit, or it is expired.
    """

    def read() -> _Identity:
        identity = _read(files)
        on_read(identity.expires_s)
        return identity

    paths = [path for path in (files.certificate, files.key, files.client_ca) if path]
    watched = Watched(paths, read)
    used = watched.get()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        latest = watched.get()
        if latest is used:
            return None  # Means unchanged.
        used = latest
        return latest.configuration

    return grpc.dynamic_ssl_server_credentials(
        used.configuration,
        fetch,  # type: ignore[arg-type]  # The typed stub does not know None for unchanged.
        require_client_authentication=files.client_ca is not None,
    )


def _read(files: TlsFiles) -> _Identity:
    chain, key = _bytes(files.certificate), _bytes(files.key)
    authorities = _bytes(files.client_ca) if files.client_ca else None
    leaf = _certificates(files.certificate, chain)[0]
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TlsError(f"{files.key} is not a PEM key without a password: {error}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise TlsError(
            f"{files.key} is not the key of the first certificate in {files.certificate}"
        )
    _check_kind(files.key, private)
    if leaf.not_valid_before_utc > datetime.now(timezone.utc):
        raise TlsError(
            f"{files.certificate} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M}"
        )
    if leaf.not_valid_after_utc <= datetime.now(timezone.utc):
        raise TlsError(f"{files.certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M}")
    if files.client_ca and authorities is not None:
        _certificates(files.client_ca, authorities)
    configuration = grpc.ssl_server_certificate_configuration([(key, chain)], authorities)
    return _Identity(configuration, leaf.not_valid_after_utc.timestamp())


def _check_kind(path: Path, key: PrivateKeyTypes) -> None:
    """Refuse a kind of key that gRPC's servers or clients do not take."""
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
        return
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return
    raise TlsError(
        f"{path} is a key that clients of gRPC do not take: use RSA of {_MIN_RSA_BITS} bits and "
        f"more, or ECDSA on P-256 or P-384"
    )


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TlsError(f"{path} holds no PEM certificate: {error}") from error


def _bytes(path: Path) -> bytes:
    try:
        # A mark that some editors begin a text with would hide its first line from gRPC.
        return regular_files.read(path).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error}") from error
