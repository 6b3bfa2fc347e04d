"""Envoy with TLS to its callers, and with certificates of both sides to its servers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from fleets import fleet, request
from proxies import Proxy, deployed, proxying

from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    FaceEmbeddingClient,
    NotPermittedError,
    RawFace,
    ServerUnavailableError,
    Tls,
)
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image
from face_embedding_server.security.access import new_token
from support import Identity, issue

NAME = "face-embedding"


@dataclass(frozen=True)
class Secured:
    """Envoy before servers, and what a caller has."""

    proxy: Proxy
    server: str
    edge: trustme.CA
    inward: trustme.CA
    token: str


def folder_of(made: Identity, authority: trustme.CA) -> Path:
    """Name the files of an identity as a secret of Kubernetes does; return their folder."""
    folder = made.certificate.parent
    made.certificate.rename(folder / "tls.crt")
    made.key.rename(folder / "tls.key")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    return folder


@pytest.fixture(scope="module")
def secured(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Two servers that want certificates, behind Envoy, for a caller with a token."""
    folder = tmp_path_factory.mktemp("secured")
    edge, inward = trustme.CA(), trustme.CA()
    outside = folder_of(issue(folder / "edge", edge, "localhost"), edge)
    inside = folder_of(issue(folder / "inward", inward, "envoy.example.org"), inward)
    own = issue(folder / "server", inward, NAME)
    token, digest = new_token()
    access = folder / "access.toml"
    access.write_text(
        f'[envoy]\npermissions = ["info"]\ncertificates = ["envoy.example.org"]\n'
        f'forwards = "x-caller"\n[search]\npermissions = ["embed"]\n'
        f'tokens = [{{ sha256 = "{digest}" }}]\n'
    )
    flags = ["--tls-certificate", own.certificate, "--tls-key", own.key]
    flags += ["--tls-client-ca", inside / "ca.crt", "--access", access]
    overlay = deployed("tls.yaml", edge=outside, inward=inside)
    with (
        fleet(store.root, 2, *map(str, flags)) as servers,
        proxying(servers.ports, folder, overlay) as proxy,
    ):
        yield Secured(proxy, servers.servers[0].address, edge, inward, token)


def client_of(address: str, ca: trustme.CA, token: str) -> FaceEmbeddingClient:
    tls = Tls(ca=ca.cert_pem.bytes(), server_name="" if "localhost" in address else NAME)
    return FaceEmbeddingClient(address, tls=tls, token=token, retries=0, timeout_s=10)


def edge_address(secured: Secured) -> str:
    return f"localhost:{secured.proxy.address.rpartition(':')[2]}"


def test_token(secured: Secured, faces: list[Image]) -> None:
    """A caller with the edge's CA and a token is answered through both kinds of TLS."""
    with client_of(edge_address(secured), secured.edge, secured.token) as client:
        assert client.embed(RawFace(faces[0], "BGR")).norm > 0


def test_no_token(secured: Secured, faces: list[Image]) -> None:
    """A caller without a token may do what the proxy may, which is not to embed."""
    with client_of(edge_address(secured), secured.edge, "") as client:
        assert client.model_info().name
        with pytest.raises(NotPermittedError):
            client.embed(RawFace(faces[0], "BGR"))


def test_named_by_address(secured: Secured, faces: list[Image]) -> None:
    """The servers know a caller without a token by its address, whatever it says that it is."""
    trust = grpc.ssl_channel_credentials(secured.edge.cert_pem.bytes())
    with (
        grpc.secure_channel(edge_address(secured), trust) as channel,
        pytest.raises(grpc.RpcError, match=r"'envoy/127\.0\.0\.1' may not call"),
    ):
        pb_grpc.FaceEmbeddingServiceStub(channel).Embed(
            request(faces[0]), metadata=[("x-caller", "somebody-else")]
        )


def test_plaintext(secured: Secured) -> None:
    """The edge answers nobody without TLS."""
    with (
        FaceEmbeddingClient(secured.proxy.address, retries=0, timeout_s=10) as client,
        pytest.raises(ServerUnavailableError),
    ):
        client.model_info()


def test_past_the_proxy(secured: Secured) -> None:
    """A server answers nobody who has no certificate of the inward CA, with a token or not."""
    with (
        client_of(secured.server, secured.inward, secured.token) as client,
        pytest.raises(ServerUnavailableError),
    ):
        client.model_info()
