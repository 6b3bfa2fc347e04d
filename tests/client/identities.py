"""Certificates, as tests hand them around."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def tls_settings(identity: Identity) -> dict[str, Any]:
    """The settings of a server with a certificate."""
    return {"tls_certificate": identity.certificate, "tls_key": identity.key}
