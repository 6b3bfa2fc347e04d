"""Who may call what.

A TOML file names the callers, how each is recognised, and what it may call:

    [search]
    permissions = ["embed", "compare"]
    tokens = [{ sha256 = "5e88…", expires = 2027-01-31T00:00:00Z }, { sha256 = "9b74…" }]
    certificates = ["search.example.org"]

Only digests of tokens are in it, so that reading it lets nobody in; a token is random and long, so
that its digest needs no salt, and how long it takes to find tells nothing of it.

A caller can be a proxy, which says in the metadata for whom each call is:

    [mesh]
    permissions = ["embed"]
    certificates = ["proxy.example.org"]
    forwards = "x-forwarded-client-cert"
"""

import functools
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    field_validator,
    model_validator,
)

from face_embedding_models import regular_files, toml
from face_embedding_models.checking import MOST_PROBLEMS, problems
from face_embedding_models.texts import clipped
from face_embedding_server.errors import OperatorError, Reason, Refusal
from face_embedding_server.security import forwarded
from face_embedding_server.security.watched import Watched

Permission = Literal["embed", "compare", "decide", "info", "debug"]

_SCHEME = "bearer "
_AUTHORIZATION = "authorization"
_CERTIFICATE = "x509_pem_cert"
_KNOWN_CERTIFICATES = 256
_TOKEN_BYTES = 32

# Its values are text, or bytes where the key ends in -bin.
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class AccessError(OperatorError):
    """The access file cannot be used; the message says why."""


class Token(BaseModel):
    """A bearer token: the SHA-256 of its bytes, in hexadecimal, and when it stops to be valid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    expires: AwareDatetime | None = None

    @field_validator("sha256")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()


class Caller(BaseModel):
    """A caller: what it may call, and the tokens and certificate names that it is known by.

    `forwards` makes it a proxy: it names the metadata key that says for whom its calls are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    permissions: frozenset[Permission]
    tokens: tuple[Token, ...] = ()
    certificates: frozenset[Annotated[str, Field(min_length=1)]] = frozenset()
    forwards: str | None = Field(None, pattern=r"^[a-z0-9_.-]+$")

    @model_validator(mode="after")
    def _check(self) -> "Caller":
        if self.forwards and not self.certificates:
            raise ValueError("forwards is for a proxy that is known by its certificates: name them")
        return self


@dataclass(frozen=True, slots=True)
class Known:
    """Who makes a call.

    Args:
        name: the caller's; empty where none is needed.
        permissions: those of the call that it has; any of them is enough to make it.
    """

    name: str
    permissions: frozenset[Permission]


class _Callers(RootModel[dict[str, Caller]]):
    """The access file."""


class _Index:
    """The callers, by what they are known by."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        named = callers.items()
        self.tokens = {t.sha256: (name, each, t) for name, each in named for t in each.tokens}
        self.certificates = {c: (name, each) for name, each in named for c in each.certificates}


class Access:
    """Knows the callers.

    Args:
        file: the access file; None lets everyone call everything.
        takes_tokens: whether the file may name tokens: they are no secret on a connection that is
            not encrypted.
        takes_certificates: whether the file may name certificates: clients show them only if they
            are asked to.

    Raises:
        AccessError: if the file cannot be used.
    """

    def __init__(self, file: Path | None, *, takes_tokens: bool, takes_certificates: bool) -> None:
        def read(file: Path) -> _Index:
            callers = _read(file)
            if not takes_tokens and any(caller.tokens for caller in callers.values()):
                raise AccessError(
                    f"{file} has tokens, which anyone on the network could read without TLS; give "
                    f"tls_certificate and tls_key, or set allow_plaintext_tokens"
                )
            if not takes_certificates and any(caller.certificates for caller in callers.values()):
                raise AccessError(
                    f"{file} names certificates, which clients only show if tls_client_ca is set"
                )
            return _Index(callers)

        self._callers = Watched([file], functools.partial(read, file)) if file else None

    @property
    def is_open(self) -> bool:
        """Whether everyone may call everything."""
        return self._callers is None

    def check(self, permissions: frozenset[Permission], context: grpc.ServicerContext) -> Known:
        """Return who makes a call, and what lets them.

        Args:
            permissions: any of these is enough; none at all means that anyone may call.
            context: the call.

        Raises:
            Refusal: if the caller is not known, or may not make this call.
        """
        if self._callers is None or not permissions:
            return Known("", permissions)
        name, caller = _recognise(
            self._callers.get(), context.invocation_metadata(), lambda: _certificate(context)
        )
        if not (granted := caller.permissions & permissions):
            raise Refusal(
                Reason.PERMISSION,
                f"'{name}' may not call this method; it needs the permission "
                f"{' or '.join(sorted(permissions))}",
            )
        return Known(name, granted)

    def name(self, metadata: Metadata, certificate: Callable[[], bytes | None]) -> str:
        """Return the name of who makes a call; empty if they are not known.

        It looks at no file and lets nobody in: `check` does.

        Args:
            metadata: the call's.
            certificate: returns the connection's client certificate, as PEM.
        """
        if self._callers is None:
            return ""
        try:
            return _recognise(self._callers.last, metadata, certificate)[0]
        except Refusal:
            return ""


def new_token() -> tuple[str, str]:
    """Return a new random token, and its SHA-256 for the access file."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    return token, _digest(token)


def _read(file: Path) -> Mapping[str, Caller]:
    try:
        callers = _Callers.model_validate(toml.loads(regular_files.read_text(file))).root
    except ValidationError as error:
        raise AccessError(f"the access file {file} cannot be used: {problems(error)}") from error
    except (OSError, ValueError) as error:
        raise AccessError(f"the access file {file} cannot be read: {error}") from error
    if not callers:
        raise AccessError(f"the access file {file} names no caller")
    # Whoever is two callers would get the permissions of one of them, and a token twice one expiry.
    marks = [
        mark
        for caller in callers.values()
        for mark in (*(token.sha256 for token in caller.tokens), *caller.certificates)
    ]
    if twice := [mark for mark, count in Counter(marks).items() if count > 1]:
        raise AccessError(
            f"the access file {file} has twice: {', '.join(map(clipped, twice[:MOST_PROBLEMS]))}"
        )
    return callers


def _recognise(
    index: _Index, metadata: Metadata, certificate: Callable[[], bytes | None]
) -> tuple[str, Caller]:
    token = _token(metadata)
    if token is not None:
        return _by_token(index, token)
    pem = certificate()
    names = names_in(pem) if pem else frozenset()
    if known := names & index.certificates.keys():
        name, caller = index.certificates[min(known)]
        identity = forwarded.identity(caller.forwards, metadata) if caller.forwards else ""
        return f"{name}/{identity}" if identity else name, caller
    if names:
        raise Refusal(
            Reason.CREDENTIALS_UNKNOWN,
            f"no caller is known by the client certificate's names: "
            f"{clipped(', '.join(sorted(names)))}",
        )
    raise Refusal(
        Reason.CREDENTIALS_MISSING,
        "send 'authorization: Bearer TOKEN' in the metadata, or use a client certificate",
    )


def _token(metadata: Metadata) -> str | None:
    for key, value in metadata:
        if key == _AUTHORIZATION:
            if not isinstance(value, str) or not value.lower().startswith(_SCHEME):
                raise Refusal(
                    Reason.CREDENTIALS_UNKNOWN,
                    "the metadata key 'authorization' has to hold 'Bearer TOKEN'",
                )
            return value[len(_SCHEME) :]
    return None


def _by_token(index: _Index, token: str) -> tuple[str, Caller]:
    found = index.tokens.get(_digest(token))
    if found is None:
        raise Refusal(Reason.CREDENTIALS_UNKNOWN, "the bearer token is not known")
    name, caller, known = found
    if known.expires and known.expires <= datetime.now(timezone.utc):
        raise Refusal(
            Reason.CREDENTIALS_EXPIRED,
            f"the bearer token of '{name}' expired on {known.expires:%Y-%m-%d %H:%M %Z}",
        )
    return name, caller


def _certificate(context: grpc.ServicerContext) -> bytes | None:
    # The typed stub takes the values for single ones.
    peer: Mapping[str, Any] = context.auth_context()
    return peer[_CERTIFICATE][0] if _CERTIFICATE in peer else None


@functools.lru_cache(_KNOWN_CERTIFICATES)
def names_in(pem: bytes) -> frozenset[str]:
    """Return the common name, and the DNS names and URIs among the alternative names.

    gRPC's own list of names mixes in other kinds, such as addresses of mail, and cuts names short
    at a zero byte.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    names = [each.value for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        known = x509.SubjectAlternativeName([])
    for kind in (x509.DNSName, x509.UniformResourceIdentifier):
        names += known.get_values_for_type(kind)
    return frozenset(str(name) for name in names)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
