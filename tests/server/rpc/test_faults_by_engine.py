"""Bad images and callers who leave, whichever engine and detector there are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import (
    WITH_MXNET,
    RunningServer,
    encode,
    metric,
    running_server,
    small_settings,
    wait_until,
)
from support.white_cells import white_cells, with_cells

TIMEOUT_S = 60
CALLERS = 8
# White cells, which the detector takes for faces.
PHOTOGRAPH = encode(with_cells(320, 160, (10, 6)))
BAD = [b"", b"junk", PHOTOGRAPH[:200], encode(np.zeros((1, 1, 3), np.uint8))]


@pytest.fixture(scope="module", params=["openvino", WITH_MXNET])
def server(
    request: pytest.FixtureRequest, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    network: Path = tmp_path_factory.mktemp("yunet") / "white.onnx"
    onnx.save(white_cells(), network)
    settings = small_settings(
        store, backend=request.param, detector="yunet", detector_model=network
    )
    with running_server(settings) as running:
        yield running


@pytest.fixture
def stub(server: RunningServer) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


def photograph(data: bytes = PHOTOGRAPH) -> pb.Face:
    return pb.Face(encoded=data, detect=pb.DetectFace())


def embedding(stub: pb_grpc.FaceEmbeddingServiceStub, face: pb.Face) -> list[float]:
    answer = stub.Embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S)
    return list(answer.results[0].embedding.values)


@pytest.mark.slow
def test_bad_images(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, faces: list[Face]
) -> None:
    """Good faces beside bad images of others are embedded as they are alone."""
    good = [pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned()), photograph()]
    alone = [embedding(stub, each) for each in good]

    def bad(data: bytes) -> grpc.StatusCode:
        request = pb.EmbedRequest(faces=[photograph(data)])
        return stub.Embed.future(request, timeout=TIMEOUT_S).code()

    with ThreadPoolExecutor(CALLERS) as callers:
        refused = callers.map(bad, BAD * 4)
        beside = [callers.submit(embedding, stub, each) for each in good * 4]
        assert set(refused) == {grpc.StatusCode.INVALID_ARGUMENT}
        for number, each in enumerate(beside):
            np.testing.assert_allclose(each.result(), alone[number % 2], atol=1e-5)
    assert metric(server, "rejected_total", reason="INTERNAL") == 0


@pytest.mark.slow
def test_callers_who_leave(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, faces: list[Face]
) -> None:
    """After many calls that their callers left, nothing waits, and faces are embedded as before."""
    face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
    before = embedding(stub, face)
    for _ in range(4):
        request = pb.EmbedRequest(faces=[face, photograph()])
        calls = [stub.Embed.future(request, timeout=TIMEOUT_S) for _ in range(CALLERS)]
        streams = [
            stub.EmbedStream(
                iter([pb.EmbedStreamRequest(face=photograph())] * 4), timeout=TIMEOUT_S
            )
            for _ in range(CALLERS)
        ]
        next(streams[0])
        for each in [*calls, *streams]:
            each.cancel()
    wait_until(lambda: metric(server, "queue_depth") == 0)
    for kind in ("unary", "stream"):
        wait_until(lambda kind=kind: metric(server, "in_flight_requests", kind=kind) == 0)
    np.testing.assert_allclose(embedding(stub, face), before, atol=1e-5)
    assert metric(server, "rejected_total", reason="INTERNAL") == 0
