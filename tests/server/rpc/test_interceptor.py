"""What every call passes before its method: its id, its errors, and whether anyone still waits."""

import contextlib
import gc
import os
import re
import threading
from collections.abc import Iterator

import cv2
import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.server import SERVICES
from support import (
    RunningServer,
    encode,
    http2,
    info_of,
    metric,
    person,
    running_server,
    small_settings,
    status_of,
    wait_until,
)

TIMEOUT_S = 60
SERVICE = "face_embedding.v1.FaceEmbeddingService"
MADE = re.compile(r"[0-9a-f]{16}")
ACCEPTED = ["a", "Az-09_.:/+=", "x" * 128, "0f6a2c1e-7d1f-4b52-9d3c-5a2f0f6b1c11"]
# So many photographs that one thread has them for a second.
MANY = 32
PERSON = person()
SMALL, LARGE = encode(PERSON, ".jpg"), encode(cv2.resize(PERSON, None, fx=4, fy=4), ".jpg")


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> pb_grpc.FaceEmbeddingServiceStub:
    return pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture(scope="module")
def aligned(faces: list[Face]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())


def returned_id(call: grpc.Call) -> str:
    """The only id among a call's trailers."""
    (found,) = (value for key, value in call.trailing_metadata() if key == "x-request-id")
    return str(found)


def sent(request_id: str) -> tuple[tuple[str, str]]:
    return (("x-request-id", request_id),)


@pytest.mark.parametrize("request_id", ACCEPTED, ids=["short", "all signs", "longest", "uuid"])
def test_own_id(request_id: str, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """The caller's id of a call is returned in the trailers."""
    _, call = stub.GetModelInfo.with_call(pb.GetModelInfoRequest(), metadata=sent(request_id))
    assert returned_id(call) == request_id


def test_made_id(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A call without an id is given one of its own."""
    calls = [stub.GetModelInfo.with_call(pb.GetModelInfoRequest())[1] for _ in range(3)]
    made = {returned_id(call) for call in calls}
    assert len(made) == 3
    assert all(MADE.fullmatch(each) for each in made)


@pytest.mark.parametrize("good", [True, False], ids=["answered", "refused"])
def test_leaves_nothing(good: bool, aligned: pb.Face, store: Store) -> None:
    """A call is gone with its end: gRPC refuses those of a connection that has too many left."""
    request = pb.EmbedRequest(faces=[aligned] if good else [pb.Face()])
    settings = small_settings(store, max_calls_per_connection=4)
    codes = set()
    gc.disable()
    try:
        with (
            running_server(settings) as running,
            grpc.insecure_channel(running.address) as channel,
        ):
            embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
            for _ in range(40):
                call = embed.future(request, timeout=TIMEOUT_S)
                call.exception()
                codes.add(call.code())
    finally:
        gc.enable()
    assert codes == {grpc.StatusCode.OK if good else grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("request_id", ["x" * 129, "two words", "", "a;b", '"'])
def test_unfit_id(request_id: str, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """An id that is too long, or has signs that confuse logs, is replaced."""
    _, call = stub.GetModelInfo.with_call(pb.GetModelInfoRequest(), metadata=sent(request_id))
    assert MADE.fullmatch(returned_id(call))


@pytest.mark.parametrize(
    "value", [b"a\nlevel=error", b"a\r\nb", "é".encode(), b"\xff", b"a\x00b", b"\x1b[2J"], ids=repr
)
def test_hostile_id(value: bytes, server: RunningServer) -> None:
    """An id that no client of gRPC would send, such as one of two lines, is replaced too."""
    path = f"/{SERVICE}/GetModelInfo"
    trailers = http2.trailers_of(server.server.port, path, x_request_id=value)
    assert b"\x0bgrpc-status\x010" in trailers
    assert re.search(rb"\x0cx-request-id\x10[0-9a-f]{16}", trailers)
    assert value not in trailers


def test_id_of_a_refusal(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A refused call returns the id beside the details of the refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Embed(pb.EmbedRequest(), metadata=sent("refused"), timeout=TIMEOUT_S)
    trailers = dict(caught.value.trailing_metadata())
    info = info_of(status_of(caught.value))
    assert (info.reason, trailers["x-request-id"]) == ("NO_FACES", "refused")


def test_id_of_a_stream(stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face) -> None:
    """A stream returns its id when it ends."""
    items = [pb.EmbedStreamRequest(face=aligned)] * 3
    stream = stub.EmbedStream(iter(items), metadata=sent("stream"), timeout=TIMEOUT_S)
    assert len(list(stream)) == 3
    assert returned_id(stream) == "stream"


@pytest.mark.parametrize(
    "service", [pb.DESCRIPTOR.services_by_name, oip.DESCRIPTOR.services_by_name], ids=list
)
def test_permissions_are_known(service: dict[str, ServiceDescriptor]) -> None:
    """Every method of the contracts is in the tables of methods, and no other."""
    for each in service.values():
        answered = [method.name for method in SERVICES[each.full_name]]
        assert sorted(answered) == sorted(method.name for method in each.methods)


@pytest.mark.parametrize("path", [f"/{SERVICE}/Guess", "/other.Service/Embed", "/x", "/"])
def test_unknown_method(path: str, channel: grpc.Channel) -> None:
    """A method that the server does not have is UNIMPLEMENTED."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """Let this thread see one processor, so that photographs have one thread."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="module")
def narrow(store: Store) -> Iterator[RunningServer]:
    """A server with one thread for photographs."""
    limits = {"max_encoded_bytes": 4 << 20, "max_message_bytes": 64 << 20}
    settings = small_settings(store, max_faces_per_request=MANY, **limits)
    with contextlib.ExitStack() as stack:
        with on_one_processor():
            running = stack.enter_context(running_server(settings, load=False))
        running.server.load()
        yield running


@pytest.fixture
def narrow_stub(narrow: RunningServer) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    with grpc.insecure_channel(narrow.address) as channel:
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture(scope="module")
def photograph() -> pb.Face:
    """One that takes a while to look through."""
    return pb.Face(encoded=LARGE, detect=pb.DetectFace())


def looks(running: RunningServer) -> float:
    """How often faces were looked for in a photograph."""
    return metric(running, "stage_duration_seconds_count", stage="detect")


@pytest.mark.slow
def test_queue(
    narrow: RunningServer, narrow_stub: pb_grpc.FaceEmbeddingServiceStub, photograph: pb.Face
) -> None:
    """Faces that wait for a thread are told as the queue's depth."""
    call = narrow_stub.Embed.future(pb.EmbedRequest(faces=[photograph] * MANY))
    wait_until(lambda: 0 < metric(narrow, "queue_depth") < MANY)
    assert len(call.result().results) == MANY
    assert metric(narrow, "queue_depth") == 0


def test_late_call(narrow: RunningServer, narrow_stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A call whose deadline passed while it waited for a thread is not computed."""
    looked, abandoned = looks(narrow), metric(narrow, "rejected_total", reason="ABANDONED")
    over = threading.Event()
    narrow.server._workers.submit(True, over.wait)  # The only thread for photographs.
    small = pb.DetectRequest(encoded=SMALL)
    with pytest.raises(grpc.RpcError) as caught:
        narrow_stub.Detect(small, timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # Comes over the same connection, behind the word that nobody waits for the late one.
    narrow_stub.GetModelInfo(pb.GetModelInfoRequest())
    over.set()
    narrow_stub.Detect(small)  # Was behind the late one.
    assert looks(narrow) - looked == 1
    wait_until(lambda: metric(narrow, "rejected_total", reason="ABANDONED") == abandoned + 1)
    assert metric(narrow, "queue_depth") == 0


def test_cancelled_batch(
    narrow: RunningServer, narrow_stub: pb_grpc.FaceEmbeddingServiceStub, photograph: pb.Face
) -> None:
    """Faces of a batch that its caller has left are not computed, and it is refused once."""
    looked, abandoned = looks(narrow), metric(narrow, "rejected_total", reason="ABANDONED")
    call = narrow_stub.Embed.future(pb.EmbedRequest(faces=[photograph] * MANY))
    wait_until(lambda: metric(narrow, "queue_depth") > 0)
    call.cancel()
    wait_until(lambda: metric(narrow, "rejected_total", reason="ABANDONED") > abandoned)
    wait_until(lambda: metric(narrow, "queue_depth") == 0)
    assert looks(narrow) - looked < MANY
    assert metric(narrow, "rejected_total", reason="ABANDONED") == abandoned + 1


def test_cancelled_stream(
    narrow: RunningServer, narrow_stub: pb_grpc.FaceEmbeddingServiceStub, photograph: pb.Face
) -> None:
    """Items of a stream that its caller has left are not computed."""
    looked = looks(narrow)
    stream = narrow_stub.EmbedStream(iter([pb.EmbedStreamRequest(face=photograph)] * MANY))
    next(stream)
    wait_until(lambda: metric(narrow, "queue_depth") > 0)
    stream.cancel()
    wait_until(lambda: metric(narrow, "in_flight_requests", kind="stream") == 0)
    wait_until(lambda: metric(narrow, "queue_depth") == 0)
    assert looks(narrow) - looked < MANY
