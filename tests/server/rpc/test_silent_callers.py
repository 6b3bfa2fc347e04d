"""Callers who open a call and send nothing, and faults at the door."""

import logging
import threading
from collections.abc import Iterator

import grpc
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode, metric, running_server, small_settings, wait_until

TIMEOUT_S = 60
EMBED = "face_embedding.v1.FaceEmbeddingService/Embed"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def running(store: Store) -> Iterator[RunningServer]:
    with running_server(small_settings(store)) as running:
        yield running


@pytest.fixture
def silence() -> Iterator[Iterator[bytes]]:
    """Requests that never come."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(TIMEOUT_S)
        yield from ()

    yield nothing()
    over.set()


@pytest.mark.parametrize("method", [EMBED, REFLECTION])
def test_deadline_before_a_message(
    method: str,
    running: RunningServer,
    silence: Iterator[bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A deadline that passes before there is a message is no fault of the server."""
    with grpc.insecure_channel(running.address) as channel:
        call = channel.stream_stream(f"/{method}")(silence, timeout=0.3)
        with pytest.raises(grpc.RpcError):
            list(call)
    # Which it is depends on who notices first; gRPC may also show it as the end of the requests.
    codes = ("DEADLINE_EXCEEDED", "CANCELLED", "INVALID_ARGUMENT")

    def ended() -> float:
        return sum(metric(running, "requests_total", method=method, code=code) for code in codes)

    wait_until(lambda: ended() == 1)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
    assert metric(running, "rejected_total", reason="INTERNAL") == 0


def test_stop_does_not_wait(running: RunningServer, silence: Iterator[bytes]) -> None:
    """A call that has sent nothing does not hold up a stop."""
    with grpc.insecure_channel(running.address) as channel:
        call = channel.stream_unary(f"/{EMBED}").future(silence, timeout=TIMEOUT_S)
        wait_until(lambda: metric(running, "in_flight_requests", kind="unary") == 1)
        admission = running.server._admission
        admission.refuse()
        assert admission.finish(TIMEOUT_S / 2)
        call.cancel()


def test_fault_at_an_item(
    running: RunningServer, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault while an item of a stream is taken is told for that item, and the stream goes on."""
    registry = running.server._registry
    get, faults = registry.get, iter([MemoryError("none left")])

    def faulty(name: str) -> object:
        for fault in faults:
            raise fault
        return get(name)

    monkeypatch.setattr(registry, "get", faulty)
    face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
    items = [pb.EmbedStreamRequest(id=name, face=face) for name in ("a", "b")]
    with grpc.insecure_channel(running.address) as channel:
        stream = pb_grpc.FaceEmbeddingServiceStub(channel).EmbedStream
        answers = list(stream(iter(items), timeout=TIMEOUT_S))
    kinds = {answer.id: answer.result.WhichOneof("outcome") for answer in answers}
    assert kinds == {"a": "error", "b": "embedding"}
