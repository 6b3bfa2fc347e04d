"""The clients with TLS, client certificates and tokens, against a real server."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from twins import Client

from face_embedding_client import (
    FaceEmbeddingClient,
    NotPermittedError,
    RawFace,
    ServerUnavailableError,
    Tls,
)
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Pixels
from support import Identity, RunningServer, running_server, small_settings

Issue = Callable[..., Identity]


@pytest.fixture(scope="session")
def ca(ca_file: Path) -> bytes:
    return ca_file.read_bytes()


def own(identity: Identity, ca: bytes) -> Tls:
    """How a client with a certificate of its own speaks TLS."""
    return Tls(ca, identity.certificate.read_bytes(), identity.key.read_bytes())


def test_every_call(
    kind: type[Client], tls_server: RunningServer, ca: bytes, faces: list[Pixels]
) -> None:
    """Calls, streams and health checks speak TLS."""
    client = kind(tls_server.address, tls=Tls(ca))
    face = RawFace(faces[0], "BGR")
    assert client.embed(face).norm > 0
    assert [name for name, _ in client.embed_stream([("a", face)])] == ["a"]
    assert client.is_serving()


def test_balanced(tls_server: RunningServer, ca: bytes) -> None:
    """So do the health checks of a client that spreads its calls."""
    address = f"ipv4:{tls_server.address}"
    tls = Tls(ca, server_name="localhost")
    with FaceEmbeddingClient(address, tls=tls, round_robin=True) as client:
        assert client.is_serving()
        assert client.model_info().name


def test_system_roots(
    kind: type[Client],
    tls_server: RunningServer,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a CA, those that the system trusts are trusted."""
    with pytest.raises(ServerUnavailableError, match="not trusted"):
        kind(tls_server.address, tls=Tls()).model_info()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    assert kind(tls_server.address, tls=Tls()).is_serving()


def test_no_system_roots(tls_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system trusts none, the list that comes with gRPC is taken."""
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with (
        FaceEmbeddingClient(tls_server.address, tls=Tls()) as client,
        pytest.raises(ServerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.model_info()


def test_other_ca(kind: type[Client], tls_server: RunningServer) -> None:
    """A server whose CA is not trusted is not spoken to; the error says what to check."""
    tls = Tls(trustme.CA().cert_pem.bytes())
    with pytest.raises(ServerUnavailableError, match=r"not trusted.*CERTIFICATE_VERIFY_FAILED"):
        kind(tls_server.address, tls=tls).model_info()


def test_server_name(
    kind: type[Client], store: Store, authority: trustme.CA, ca: bytes, issue: Issue
) -> None:
    """A certificate for another name is refused, unless the name is given."""
    named = issue(authority, "face.example.org")
    with running_server(small_settings(store, **named.settings())) as running:
        with pytest.raises(ServerUnavailableError, match="is for another name"):
            kind(running.address, tls=Tls(ca)).model_info()
        assert kind(running.address, tls=Tls(ca, server_name="face.example.org")).is_serving()


def test_one_side_without_tls(
    kind: type[Client], server: RunningServer, tls_server: RunningServer, ca: bytes
) -> None:
    """Where only one side speaks TLS, the error says so."""
    with pytest.raises(ServerUnavailableError, match="may speak TLS only"):
        kind(tls_server.address).model_info()
    with pytest.raises(ServerUnavailableError, match="does not speak TLS"):
        kind(server.address, tls=Tls(ca)).model_info()


def test_client_certificate(
    kind: type[Client],
    store: Store,
    authority: trustme.CA,
    ca_file: Path,
    ca: bytes,
    identity: Identity,
    issue: Issue,
) -> None:
    """A server that asks for client certificates takes those of its CA alone."""
    settings = small_settings(store, **identity.settings(), tls_client_ca=ca_file)
    with running_server(settings) as running:
        assert kind(running.address, tls=own(issue(authority, "search"), ca)).is_serving()
        for tls in (Tls(ca), own(issue(trustme.CA(), "search"), ca)):
            with pytest.raises(ServerUnavailableError, match="may ask for a client certificate"):
                kind(running.address, tls=tls).model_info()


def test_unfit_key(
    tls_server: RunningServer, authority: trustme.CA, ca: bytes, issue: Issue
) -> None:
    """A key that is not the certificate's is named as the reason."""
    first, second = issue(authority, "a"), issue(authority, "b")
    with (
        FaceEmbeddingClient(
            tls_server.address, tls=own(Identity(first.certificate, second.key), ca)
        ) as client,
        pytest.raises(ServerUnavailableError, match="certificate and key a pair"),
    ):
        client.model_info()


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "CREDENTIALS_MISSING"), ("guess", "CREDENTIALS_UNKNOWN"), ("search", "PERMISSION")],
)
def test_tokens(
    token: str,
    reason: str,
    kind: type[Client],
    store: Store,
    identity: Identity,
    ca: bytes,
    faces: list[Pixels],
    tmp_path: Path,
) -> None:
    """A caller without a token, with an unknown one, and without the permission are told apart."""
    access = tmp_path / "access.toml"
    digest = hashlib.sha256(b"search").hexdigest()
    access.write_text(
        f'[search]\npermissions = ["compare"]\ntokens = [{{ sha256 = "{digest}" }}]\n'
    )
    face = RawFace(faces[0], "BGR")
    with running_server(small_settings(store, **identity.settings(), access=access)) as running:
        known = kind(running.address, tls=Tls(ca), token="search")  # noqa: S106  # Not a secret.
        assert known.compare(face, face).cosine_similarity > 0.99
        with pytest.raises(NotPermittedError) as caught:
            kind(running.address, tls=Tls(ca), token=token).embed(face)
    assert caught.value.reason == reason
    assert caught.value.request_id
