"""Calls that are begun and left open keep nobody else from an answer."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.settings import Settings
from support import RunningServer, encode, running_server, small_settings

V1, V2 = "face_embedding.v1.FaceEmbeddingService", "inference.GRPCInferenceService"
TIMEOUT_S = 20
TOKEN = "token"  # noqa: S105  # No secret.
# A channel with these shares no connection with another one.
OWN = [("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture
def nothing() -> Iterator[Callable[[], Iterator[bytes]]]:
    """The messages of a caller who sends none until the test is over."""
    over = threading.Event()

    def messages() -> Iterator[bytes]:
        over.wait()
        yield b""

    yield messages
    over.set()


@pytest.fixture
def guarded(store: Store, tmp_path: Path) -> Settings:
    """Settings of a server that asks for a token."""
    access = tmp_path / "access.toml"
    sha256 = hashlib.sha256(TOKEN.encode()).hexdigest()
    access.write_text(f'[me]\npermissions = ["embed"]\ntokens = [{{ sha256 = "{sha256}" }}]')
    return small_settings(store, access=access, allow_plaintext_tokens=True, detector="none")


@pytest.mark.parametrize("method", [f"{V1}/Embed", f"{V1}/EmbedStream", f"{V2}/ModelInfer"])
def test_strangers_hold_no_thread(
    method: str, guarded: Settings, nothing: Callable[[], Iterator[bytes]]
) -> None:
    """Calls without credentials that never send their message are ended, however many."""
    with (
        running_server(guarded, load=False) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stranger = channel.stream_stream(f"/{method}")
        calls = [stranger(nothing(), timeout=TIMEOUT_S) for _ in range(200)]
        assert {each.code() for each in calls} == {grpc.StatusCode.UNAUTHENTICATED}


@pytest.mark.slow
def test_open_methods_hold_up_nobody(
    guarded: Settings, faces: list[Face], nothing: Callable[[], Iterator[bytes]]
) -> None:
    """Calls that need no permission and never send their message take no thread from others."""
    with (
        running_server(guarded) as running,
        grpc.insecure_channel(running.address) as bad,
        grpc.insecure_channel(running.address, OWN) as good,
    ):
        stranger = bad.stream_unary(f"/{V2}/ServerReady")
        calls = [stranger.future(nothing(), timeout=TIMEOUT_S) for _ in range(200)]
        face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
        embed = pb_grpc.FaceEmbeddingServiceStub(good).Embed
        token = (("authorization", f"Bearer {TOKEN}"),)
        assert embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S, metadata=token).results
        assert calls[0].code() == grpc.StatusCode.CANCELLED
        for each in calls:
            each.cancel()


def test_open_streams_hold_up_nobody(
    server: RunningServer,
    channel: grpc.Channel,
    faces: list[Face],
    nothing: Callable[[], Iterator[bytes]],
) -> None:
    """Streams that are left open take no thread from other calls, nor from health."""
    with grpc.insecure_channel(server.address) as own:
        stream = own.stream_stream(f"/{V1}/EmbedStream")
        calls = [stream(nothing(), timeout=TIMEOUT_S) for _ in range(150)]
        check = health_pb2_grpc.HealthStub(channel).Check
        face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        assert check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status
        assert embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S).results
        for each in calls:
            each.cancel()


def test_open_calls_hold_up_no_probe(store: Store, nothing: Callable[[], Iterator[bytes]]) -> None:
    """Calls of the health service that never send their message do not keep probes from answers."""
    settings = small_settings(store, health_address="127.0.0.1:0", detector="none")
    with running_server(settings) as running:
        address = f"127.0.0.1:{running.server.health_port}"
        with grpc.insecure_channel(address) as bad, grpc.insecure_channel(address, OWN) as good:
            check = bad.stream_unary("/grpc.health.v1.Health/Check")
            calls = [check.future(nothing(), timeout=TIMEOUT_S) for _ in range(100)]
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(good).Check(request, timeout=TIMEOUT_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            for each in calls:
                each.cancel()
