"""Whose share of the threads a call has: a caller's, whatever connections they have."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trustme

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.rpc.shares import Share
from face_embedding_server.security import forwarded
from face_embedding_server.security.access import Access, AccessError
from support import Identity, RunningServer, issue, running_server, small_settings

SENT = "sent"
ACCESS = f"""
[someone]
permissions = ["info"]
tokens = [{{ sha256 = "{hashlib.sha256(SENT.encode()).hexdigest()}" }}]
certificates = ["someone.example.org"]

[envoy]
permissions = ["info"]
certificates = ["envoy.example.org"]
forwards = "x-forwarded-client-cert"

[other]
permissions = ["info"]
certificates = ["other.example.org"]
forwards = "x-user"
"""
URI = "URI=spiffe://example.org/anna"


def known_as(name: str) -> Share:
    return Share(("name", name), is_known=True)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def running(
    store: Store, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server that asks for client certificates."""
    folder = tmp_path_factory.mktemp("shares")
    access, ca = folder / "access.toml", folder / "ca.pem"
    access.write_text(ACCESS)
    authority.cert_pem.write_to_path(ca)
    identity = issue(folder / "server", authority, "localhost")
    chosen = small_settings(store, access=access, tls_client_ca=ca, **identity.settings())
    with running_server(chosen) as running:
        yield running


@pytest.fixture
def share_of(
    running: RunningServer, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Share]:
    """Make one call on a connection of its own, and return whose share it had."""
    seen: list[Share] = []
    pool = running.server._pools.unary
    told = pool._share_of

    def tell(event: Any) -> Share:
        seen.append(told(event))
        return seen[-1]

    monkeypatch.setattr(pool, "_share_of", tell)

    def call(name: str, *metadata: tuple[str, str]) -> Share:
        own: Identity = issue(tmp_path, authority, f"{name}.example.org")
        credentials = grpc.ssl_channel_credentials(
            authority.cert_pem.bytes(), own.key.read_bytes(), own.certificate.read_bytes()
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(f"localhost:{running.server.port}", credentials, options) as at:
            info = pb_grpc.FaceEmbeddingServiceStub(at).GetModelInfo
            info.with_call(pb.GetModelInfoRequest(), metadata=metadata, timeout=20)
        return seen[-1]

    return call


def test_connections_of_one(share_of: Callable[..., Share]) -> None:
    """Connections of one caller share one share, whether by certificate or by token."""
    by_token = share_of("stranger", ("authorization", f"Bearer {SENT}"))
    assert by_token == share_of("someone") == known_as("someone")


def test_unknown(running: RunningServer) -> None:
    """Of those who are not known each connection has a share."""
    event = SimpleNamespace(
        invocation_metadata=[("authorization", "Bearer wrong")],
        call=SimpleNamespace(peer=lambda: b"ipv4:127.0.0.1:1"),
    )
    share = running.server._pools.unary._share_of(event)
    assert share == Share(b"ipv4:127.0.0.1:1", is_known=False)


def test_open_server(store: Store) -> None:
    """Where everyone may call everything, everyone is known by the connection."""
    event = SimpleNamespace(call=SimpleNamespace(peer=lambda: b"ipv4:127.0.0.1:1"))
    with running_server(small_settings(store)) as running:
        share = running.server._pools.unary._share_of(event)
    assert share == Share(b"ipv4:127.0.0.1:1", is_known=True)


@pytest.mark.parametrize(
    ("proxy", "metadata", "name"),
    [
        ("envoy", [("x-forwarded-client-cert", f"Hash=aa;{URI}")], "spiffe://example.org/anna"),
        ("other", [("x-user", "anna")], "anna"),
        ("other", [("x-user", "forged"), ("x-user", "anna")], "anna"),
    ],
)
def test_proxy(
    share_of: Callable[..., Share], proxy: str, metadata: list[tuple[str, str]], name: str
) -> None:
    """Behind a proxy each caller that it names has a share."""
    assert share_of(proxy, *metadata) == known_as(f"{proxy}/{name}")


def test_proxy_names_nobody(share_of: Callable[..., Share]) -> None:
    """A call of a proxy for nobody is its own."""
    assert share_of("envoy") == known_as("envoy")


def test_no_proxy(share_of: Callable[..., Share]) -> None:
    """Who is no proxy cannot be another by saying so."""
    assert share_of("someone", ("x-forwarded-client-cert", URI)) == known_as("someone")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (f"By=spiffe://x;Hash=aa;{URI}", "spiffe://example.org/anna"),
        ('Hash=aa;Subject="CN=anna,O=a;URI=b"', "CN=anna,O=a;URI=b"),
        ("Hash=aa", "aa"),
        (f"{URI},Hash=bb", "bb"),
        (f'{URI};Subject="x,Hash=bb', "bb"),
        (f'{URI};Subject=",By=a;Subject="CN=berta"', "CN=berta"),
        ("", ""),
        ("=;;,", ""),
    ],
)
def test_envoy(value: str, name: str) -> None:
    """Of what proxies added to, only the last one's element counts, whatever was there before."""
    assert forwarded.identity(forwarded.ENVOY_KEY, [(forwarded.ENVOY_KEY, value)]) == name


def test_proxy_needs_certificate(tmp_path: Path) -> None:
    """A proxy is known by a certificate."""
    file = tmp_path / "access.toml"
    file.write_text('[envoy]\npermissions = ["info"]\nforwards = "x-user"\n')
    with pytest.raises(AccessError, match="forwards is for a proxy"):
        Access(file, takes_tokens=True, takes_certificates=True)
