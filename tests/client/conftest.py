"""Fixtures: each client in turn, photographs, and servers with TLS."""

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2_grpc
from tampering import Tampering
from twins import Blocking, Client

import support
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, Landmarks
from face_embedding_client.cli.main import main
from face_embedding_models.store import Store
from support import Identity, RunningServer, encode, running_server, small_settings


@pytest.fixture(params=[FaceEmbeddingClient, Blocking], ids=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> type[Client]:
    return request.param


@pytest.fixture
def any_client(kind: type[Client], server: RunningServer) -> Client:
    return kind(server.address)


@pytest.fixture(scope="session")
def blind_server(store: Store) -> Iterator[RunningServer]:
    """A server without a detector."""
    with running_server(small_settings(store, detector="none")) as running:
        yield running


@pytest.fixture
def tampered(channel: grpc.Channel) -> Iterator[Callable[[Callable[[Any], Any]], str]]:
    """Makes servers that alter messages, and gives their address."""
    with ExitStack() as stack:

        def make(alter: Callable[[Any], Any]) -> str:
            server = grpc.server(futures.ThreadPoolExecutor(4))
            servicer = Tampering(channel, alter)
            pb_grpc.add_FaceEmbeddingServiceServicer_to_server(servicer, server)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            return f"127.0.0.1:{port}"

        yield make


@pytest.fixture(scope="session")
def photographs(test_data: Path) -> dict[str, Path]:
    """Photographs with one face each, by name."""
    return {file.stem: file for file in sorted((test_data / "faces" / "photos").glob("*.jpg"))}


@pytest.fixture(scope="session")
def landmarks(test_data: Path) -> dict[str, Landmarks]:
    """The landmarks of the photographs, by name."""
    points = json.loads((test_data / "faces" / "landmarks.json").read_text("utf-8"))
    return {name: Landmarks(*map(tuple, face)) for name, face in points.items()}


@pytest.fixture(scope="session")
def portrait(photographs: dict[str, Path]) -> bytes:
    """A photograph with one face."""
    return photographs["person02_00"].read_bytes()


@pytest.fixture(scope="session")
def couple(photographs: dict[str, Path]) -> bytes:
    """A photograph with a smaller face on the left and a larger one on the right."""
    large = cv2.imread(str(photographs["person02_00"]))
    small = cv2.resize(cv2.imread(str(photographs["person02_01"])), None, fx=0.6, fy=0.6)
    padded = np.zeros((large.shape[0], small.shape[1], 3), np.uint8)
    padded[: small.shape[0]] = small
    return encode(cv2.hconcat([padded, large]), ".jpg")


@pytest.fixture(scope="session")
def nobody() -> bytes:
    """A photograph without a face."""
    return encode(np.full((200, 300, 3), 90, np.uint8))


@pytest.fixture
def run(
    server: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The command with the server's address, which gives its status and both outputs."""
    monkeypatch.setenv("FACE_EMBEDDING_ADDRESS", "127.0.0.1:1")

    def run(*arguments: str, address: str = server.address) -> tuple[int, str, str]:
        status = main([*arguments, "--address", address])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="session")
def issue(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Identity]:
    """Makes certificates."""

    def issue(authority: trustme.CA, *names: str) -> Identity:
        return support.issue(tmp_path_factory.mktemp("identity"), authority, *names)

    return issue


@pytest.fixture(scope="session")
def identity(authority: trustme.CA, issue: Callable[..., Identity]) -> Identity:
    """The server's certificate, for this machine."""
    return issue(authority, "localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def tls_server(store: Store, identity: Identity) -> Iterator[RunningServer]:
    """A server that speaks TLS."""
    with running_server(small_settings(store, **identity.settings())) as running:
        yield running
