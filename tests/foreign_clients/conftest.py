"""Fixtures: servers that let callers in in three ways, and what every client should get."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from endpoints import Endpoint

from face_embedding_client import Embedding, FaceEmbeddingClient
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode, issue, person, running_server, small_settings

TOKEN = "a-token-of-the-tests"  # noqa: S105  # No secret.
CALLER = "caller.example.org"
PERMISSIONS = '[caller]\npermissions = ["embed", "compare", "info"]\n'


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="session")
def certificates(folder: Path) -> Path:
    """A folder with the certificates of an authority, of the server and of a caller."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issue(folder / "server", authority, "localhost", "127.0.0.1")
    issue(folder / "caller", authority, CALLER)
    return folder


@pytest.fixture(scope="session")
def plaintext(server: RunningServer) -> Endpoint:
    """A server that everyone may call."""
    return Endpoint(server.address)


@pytest.fixture(scope="session")
def token(store: Store, certificates: Path) -> Iterator[Endpoint]:
    """A server with TLS that asks for a token."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    access = certificates / "tokens.toml"
    access.write_text(PERMISSIONS + f'tokens = [{{ sha256 = "{digest}" }}]\n')
    token_file = certificates / "token"
    token_file.write_text(TOKEN)
    settings = small_settings(
        store,
        tls_certificate=certificates / "server/certificate.pem",
        tls_key=certificates / "server/key.pem",
        access=access,
    )
    with running_server(settings) as running:
        address = f"localhost:{running.server.port}"
        yield Endpoint(address, certificates / "ca.pem", token_file=token_file)


@pytest.fixture(scope="session")
def mtls(store: Store, certificates: Path) -> Iterator[Endpoint]:
    """A server with TLS that asks for a client certificate with a name it knows."""
    access = certificates / "certificates.toml"
    access.write_text(PERMISSIONS + f'certificates = ["{CALLER}"]\n')
    settings = small_settings(
        store,
        tls_certificate=certificates / "server/certificate.pem",
        tls_key=certificates / "server/key.pem",
        tls_client_ca=certificates / "ca.pem",
        access=access,
    )
    with running_server(settings) as running:
        address = f"localhost:{running.server.port}"
        names = ("ca.pem", "caller/certificate.pem", "caller/key.pem")
        yield Endpoint(address, *(certificates / name for name in names))


@pytest.fixture(params=["plaintext", "token", "mtls"])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """Each of these servers."""
    found: Endpoint = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def files(folder: Path, faces: list[Face]) -> list[Path]:
    """Two files with an aligned face each."""
    files = [folder / "face-a.png", folder / "face-b.png"]
    for file, face in zip(files, faces, strict=False):
        file.write_bytes(encode(face))
    return files


@pytest.fixture(scope="session")
def photograph(folder: Path) -> Path:
    """A photograph of one person."""
    file = folder / "photograph.jpg"
    file.write_bytes(encode(person(), ".jpg"))
    return file


@pytest.fixture(scope="session")
def unreadable(folder: Path) -> Path:
    """A file that is no image."""
    file = folder / "unreadable.png"
    file.write_bytes(b"not an image")
    return file


@pytest.fixture(scope="session")
def expected(client: FaceEmbeddingClient, files: list[Path]) -> list[Embedding]:
    """What our own client gets for the two aligned faces."""
    return [client.embed(file.read_bytes()) for file in files]
