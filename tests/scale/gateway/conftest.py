"""A server, and Envoy before it."""

from collections.abc import Iterator

import grpc
import pytest
from proxies import Proxy, proxying

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image
from support import encode
from support.processes import Running, serving


@pytest.fixture(scope="module")
def running(store: Store) -> Iterator[Running]:
    """A server."""
    with serving(store.root) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Envoy before it."""
    with proxying([running.port], tmp_path_factory.mktemp("envoy")) as made:
        yield made


@pytest.fixture
def url(proxy: Proxy) -> str:
    return f"http://{proxy.address}"


@pytest.fixture
def stub(proxy: Proxy) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    """Calls of gRPC through the same port."""
    with grpc.insecure_channel(proxy.address) as channel:
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture
def face(faces: list[Image]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
