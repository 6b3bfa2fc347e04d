"""What callers do, rightly and wrongly; each act raises if the server did not as it should."""

import functools
import urllib.request
from collections.abc import Callable

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.sample_faces import sample_faces
from support import MOBILE, encode, person

_TIMEOUT_S = 60
_BATCH = 4
_STREAM_ITEMS = 8
_FACES = [encode(face.pixels_bgr) for face in sample_faces(112, 112)]
ALIGNED = pb.Face(encoded=_FACES[0], aligned=pb.Aligned())
PHOTOGRAPH = pb.Face(encoded=encode(person(), ".jpg"), detect=pb.DetectFace())
_SIDE = pb.CompareSide(face=ALIGNED)
_COMPARE = pb.CompareRequest(first=_SIDE, second=_SIDE, threshold=0.5)
_BAD = [
    pb.EmbedRequest(),
    pb.EmbedRequest(faces=[pb.Face(encoded=b"junk", aligned=pb.Aligned())]),
    pb.EmbedRequest(faces=[pb.Face(encoded=_FACES[0][:99], aligned=pb.Aligned())]),
    pb.EmbedRequest(faces=[pb.Face(encoded=PHOTOGRAPH.encoded, aligned=pb.Aligned())]),
]


def acts(channel: grpc.Channel, address: str, metrics_port: int) -> dict[str, Callable[[], object]]:
    """Return the acts by what they are; each can be repeated beside all others."""
    stub = pb_grpc.FaceEmbeddingServiceStub(channel)
    infer = oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer
    check = health_pb2_grpc.HealthStub(channel).Check
    within = functools.partial(functools.partial, timeout=_TIMEOUT_S)
    return {
        "aligned faces": lambda: _embed(stub, ALIGNED),
        "batches": lambda: _embed(stub, *[ALIGNED] * _BATCH),
        "photographs": lambda: _embed(stub, PHOTOGRAPH),
        "streams": lambda: _stream(stub),
        "cancelled streams": lambda: _cancelled_stream(stub),
        "cancelled calls": lambda: _cancelled(stub),
        "bad requests": lambda: _bad(stub),
        "comparisons": within(stub.Compare, _COMPARE),
        "tensors": within(infer, _tensor()),
        "health checks": within(check, health_pb2.HealthCheckRequest()),
        "new connections": lambda: _new_connection(address),
        "reads of the metrics": lambda: _metrics(metrics_port),
    }


def _embed(stub: pb_grpc.FaceEmbeddingServiceStub, *faces: pb.Face) -> None:
    answer = stub.Embed(pb.EmbedRequest(faces=faces), timeout=_TIMEOUT_S)
    assert all(result.HasField("embedding") for result in answer.results)


def _stream(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    items = [pb.EmbedStreamRequest(id=str(i), face=ALIGNED) for i in range(_STREAM_ITEMS)]
    answers = list(stub.EmbedStream(iter(items), timeout=_TIMEOUT_S))
    assert all(each.result.HasField("embedding") for each in answers)
    assert {each.id for each in answers} == {each.id for each in items}


def _cancelled_stream(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    items = [pb.EmbedStreamRequest(face=each) for each in (ALIGNED, *[PHOTOGRAPH] * 3)]
    answers = stub.EmbedStream(iter(items), timeout=_TIMEOUT_S)
    next(answers)
    answers.cancel()


def _cancelled(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    call = stub.Embed.future(pb.EmbedRequest(faces=[PHOTOGRAPH]), timeout=_TIMEOUT_S)
    _embed(stub, ALIGNED)  # Meanwhile the other is taken.
    call.cancel()


def _bad(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    for request in _BAD:
        call = stub.Embed.future(request, timeout=_TIMEOUT_S)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT, call.code()


def _tensor() -> oip.ModelInferRequest:
    tensor = oip.ModelInferRequest(model_name=MOBILE)
    tensor.inputs.add(name="data", datatype="FP32", shape=[1, 3, 112, 112])
    tensor.raw_input_contents.append(np.full(3 * 112 * 112, 100, "<f4").tobytes())
    return tensor


def _new_connection(address: str) -> None:
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as own:
        stub = pb_grpc.FaceEmbeddingServiceStub(own)
        stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=_TIMEOUT_S)


def _metrics(port: int) -> None:
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
        assert b"face_embedding_requests_total" in response.read()
