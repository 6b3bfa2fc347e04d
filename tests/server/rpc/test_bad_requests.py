"""Bad requests: each is refused with its exact status, and hurts nothing else."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, InvalidRequestError
from face_embedding_models.sample_faces import sample_faces
from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode, info_of, status_of

TIMEOUT_S = 60

FACE: Face = sample_faces(112, 112)[0].pixels_bgr
INVALID = grpc.StatusCode.INVALID_ARGUMENT
Message = pb.EmbedRequest | pb.CompareRequest | pb.GetModelInfoRequest


def raw(face: Face = FACE, **changes: object) -> pb.Face:
    """A good face, but for the changes."""
    fields: dict[str, object] = {
        "data": face.tobytes(),
        "width": face.shape[1],
        "height": face.shape[0],
        "channel_order": pb.CHANNEL_ORDER_BGR,
    }
    return pb.Face(raw=pb.RawImage(**fields | changes), aligned=pb.Aligned())


def encoded(data: bytes) -> pb.Face:
    return pb.Face(encoded=data, aligned=pb.Aligned())


def embed(*faces: pb.Face, **fields: object) -> pb.EmbedRequest:
    return pb.EmbedRequest(faces=faces, **fields)


def stored(**changes: object) -> pb.CompareSide:
    """A stored embedding that differs from a good one in the changes, or in its space."""
    fields: dict[str, object] = {"values": [1.0] * 128, "space": "SPACE"}
    return pb.CompareSide(embedding=pb.Embedding(**fields | changes))


def compare(second: pb.CompareSide | None, threshold: float | None = None) -> pb.CompareRequest:
    return pb.CompareRequest(first=pb.CompareSide(face=raw()), second=second, threshold=threshold)


@dataclass(frozen=True)
class Case:
    """A bad request and the refusal that it gets. SPACE stands for the server's space."""

    name: str
    request: Message
    reason: str
    message: str
    field: str = ""
    code: grpc.StatusCode = INVALID


SMALL = np.zeros((100, 112, 3), np.uint8)
JPEG = encode(FACE, ".jpg")
CASES = [
    Case("no faces", embed(), "NO_FACES", "the request holds no face", "faces"),
    Case(
        "too many",
        embed(*[raw()] * 5),
        "TOO_MANY_FACES",
        "5 faces in one request, at most 4",
        "faces",
    ),
    Case(
        "no preparation",
        embed(pb.Face(encoded=JPEG)),
        "FIELD_MISSING",
        "say how the face is prepared",
        "faces[0].preparation",
    ),
    Case(
        "no image",
        embed(pb.Face(aligned=pb.Aligned())),
        "FIELD_MISSING",
        "there is no image",
        "faces[0].image",
    ),
    Case(
        "junk",
        embed(encoded(b"junk" * 99)),
        "IMAGE_UNREADABLE",
        "is not a JPEG, PNG, WebP, AVIF or HEIC file",
        "faces[0].encoded",
    ),
    Case(
        "empty",
        embed(encoded(b"")),
        "IMAGE_UNREADABLE",
        "is not a JPEG, PNG, WebP, AVIF or HEIC file",
        "faces[0].encoded",
    ),
    Case(
        "a GIF",
        embed(encoded(b"GIF89a" + bytes(99))),
        "IMAGE_UNREADABLE",
        "is not a JPEG, PNG, WebP, AVIF or HEIC file",
        "faces[0].encoded",
    ),
    Case(
        "cut JPEG",
        embed(encoded(JPEG[: len(JPEG) // 2])),
        "IMAGE_UNREADABLE",
        "is damaged or cut short",
        "faces[0].encoded",
    ),
    Case(
        "cut PNG",
        embed(encoded(encode(FACE)[:-1000])),
        "IMAGE_UNREADABLE",
        "is damaged or cut short",
        "faces[0].encoded",
    ),
    Case(
        "large file",
        embed(encoded(JPEG + bytes(200_000))),
        "IMAGE_TOO_LARGE",
        "at most 200,000 are taken",
        "faces[0].encoded",
    ),
    Case(
        "encoded size",
        embed(encoded(encode(SMALL))),
        "IMAGE_SIZE",
        "112×100 pixels and an aligned face is 112×112",
        "faces[0].encoded",
    ),
    Case(
        "raw size",
        embed(raw(SMALL)),
        "IMAGE_SIZE",
        "112×100 pixels and an aligned face is 112×112",
        "faces[0].raw",
    ),
    Case(
        "raw bytes",
        embed(raw(data=bytes(9))),
        "RAW_SIZE",
        "112×112 pixels of 3 channels are 37,632 bytes, there are 9",
        "faces[0].raw.data",
    ),
    Case(
        "raw without data",
        embed(raw(width=0, height=0, data=b"")),
        "IMAGE_SIZE",
        "0×0 pixels",
        "faces[0].raw",
    ),
    Case(
        "raw overflow",
        embed(raw(width=2**32 - 1, height=2**32 - 1)),
        "RAW_SIZE",
        "there are 37,632",
        "faces[0].raw.data",
    ),
    Case(
        "no order",
        embed(raw(channel_order=0)),
        "CHANNEL_ORDER",
        "RGB or BGR",
        "faces[0].raw.channel_order",
    ),
    Case(
        "unknown order",
        embed(raw(channel_order=9)),
        "CHANNEL_ORDER",
        "RGB or BGR",
        "faces[0].raw.channel_order",
    ),
    Case(
        "normalization",
        embed(raw(), normalization=9),
        "NORMALIZATION",
        "9 is not a Normalization",
        "normalization",
    ),
    Case(
        "unknown model",
        embed(raw(), model="other"),
        "MODEL_UNKNOWN",
        "serves 'face-recognition-mobilefacenet-arcface', not 'other'",
        "model",
        grpc.StatusCode.NOT_FOUND,
    ),
    Case(
        "info of unknown model",
        pb.GetModelInfoRequest(model="x"),
        "MODEL_UNKNOWN",
        "not 'x'",
        "model",
        grpc.StatusCode.NOT_FOUND,
    ),
    Case("no side", compare(None), "FIELD_MISSING", "give a face or an embedding", "second"),
    Case(
        "bad side",
        compare(pb.CompareSide(face=encoded(b"x"))),
        "IMAGE_UNREADABLE",
        "is not a JPEG",
        "second.face.encoded",
    ),
    Case(
        "no space",
        compare(stored(space="")),
        "EMBEDDING_SPACE",
        "of the space ''",
        "second.embedding.space",
    ),
    Case(
        "other space",
        compare(stored(space="a/b/c")),
        "EMBEDDING_SPACE",
        "cannot be compared, embed the face again",
        "second.embedding.space",
    ),
    Case(
        "short",
        compare(stored(values=[1.0] * 127)),
        "EMBEDDING_INVALID",
        "has 127 values, not 128",
        "second.embedding.values",
    ),
    Case(
        "no values",
        compare(stored(values=[])),
        "EMBEDDING_INVALID",
        "has 0 values, not 128",
        "second.embedding.values",
    ),
    Case(
        "NaN",
        compare(stored(values=[float("nan")] * 128)),
        "EMBEDDING_INVALID",
        "not finite",
        "second.embedding.values",
    ),
    Case(
        "infinite",
        compare(stored(values=[float("inf")] * 128)),
        "EMBEDDING_INVALID",
        "not finite",
        "second.embedding.values",
    ),
    Case(
        "zero norm",
        compare(stored(values=[0.0] * 128)),
        "EMBEDDING_INVALID",
        "zero norm",
        "second.embedding.values",
    ),
    Case(
        "threshold",
        compare(stored(), 1.5),
        "THRESHOLD",
        "1.5 is not a cosine similarity",
        "threshold",
    ),
    Case("NaN threshold", compare(stored(), float("nan")), "THRESHOLD", "nan is not", "threshold"),
]


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> pb_grpc.FaceEmbeddingServiceStub:
    return pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(
    case: Case, stub: pb_grpc.FaceEmbeddingServiceStub, client: FaceEmbeddingClient
) -> None:
    """A bad request gets its code, reason, field and message; a good one right after succeeds."""
    methods: dict[type[Message], Callable[..., object]] = {
        pb.EmbedRequest: stub.Embed,
        pb.CompareRequest: stub.Compare,
        pb.GetModelInfoRequest: stub.GetModelInfo,
    }
    request = type(case.request).FromString(case.request.SerializeToString())
    if isinstance(request, pb.CompareRequest) and request.second.embedding.space == "SPACE":
        request.second.embedding.space = client.model_info().embedding_space
    with pytest.raises(grpc.RpcError) as caught:
        methods[type(request)](request, timeout=10)
    error = caught.value
    status = status_of(error)
    info = info_of(status)
    assert error.code() is case.code
    assert (info.reason, info.domain) == (case.reason, "face-embedding")
    assert info.metadata["field"] == case.field
    assert case.message in error.details()
    assert status.message == error.details()
    assert stub.Embed(embed(raw()), timeout=10).results[0].HasField("embedding")


@pytest.mark.parametrize("method", ["Embed", "Compare", "GetModelInfo"])
def test_malformed_bytes(method: str, channel: grpc.Channel) -> None:
    """Bytes that are no message are INVALID_ARGUMENT, with a reason."""
    with pytest.raises(grpc.RpcError, match=r"the bytes are not a face_embedding\.v1\.") as caught:
        channel.unary_unary(f"/face_embedding.v1.FaceEmbeddingService/{method}")(b"\xff\xffjunk")
    assert caught.value.code() is INVALID
    assert info_of(status_of(caught.value)).reason == "MALFORMED"


def test_malformed_item(channel: grpc.Channel) -> None:
    """A malformed item of a stream is answered with an error, and the next one is embedded."""
    stream = channel.stream_stream("/face_embedding.v1.FaceEmbeddingService/EmbedStream")
    good = pb.EmbedStreamRequest(id="good", face=raw()).SerializeToString()
    answers = map(
        pb.EmbedStreamResponse.FromString, stream(iter([b"\xff\xffjunk", good]), timeout=10)
    )
    results = {answer.id: answer.result for answer in answers}
    assert info_of(results[""].error).reason == "MALFORMED"
    assert results["good"].HasField("embedding")


JPEG_BODY = JPEG[2:]
PNG = encode(FACE)
ICC = struct.pack(">I4s", 0, b"iCCP") + bytes(4)
BOMBS = {
    "segments": b"\xff\xd8" + b"\xff\xe1\x00\x08Exif\0\0" * 15_000 + JPEG_BODY,
    "padding": b"\xff\xd8" + b"\xff" * 150_000 + JPEG_BODY,
    "scans": JPEG[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 15_000 + JPEG[-2:],
    "chunks": PNG[:33] + ICC * 10_000 + PNG[33:],
    "empty data": PNG[:33] + struct.pack(">I4sI", 0, b"IDAT", 0x35AF061E) * 10_000 + PNG[33:],
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_file_of_too_many_parts(data: bytes, client: FaceEmbeddingClient) -> None:
    """A file whose many parts would keep a decoder busy is refused unread."""
    with pytest.raises(InvalidRequestError, match=r"the image has too (many|much)"):
        client.embed(data)


def test_oversized_message(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A message above the limit is RESOURCE_EXHAUSTED, and the server goes on."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Embed(embed(encoded(bytes(2 << 20))), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in caught.value.details()
    assert stub.Embed(embed(raw()), timeout=10).results[0].HasField("embedding")


def test_neighbours_survive(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Of several faces, a bad one has an error for a result and the others their embeddings."""
    results = stub.Embed(embed(raw(), encoded(b"junk"), raw()), timeout=10).results
    assert [result.WhichOneof("outcome") for result in results] == [
        "embedding",
        "error",
        "embedding",
    ]
    assert results[1].error.code == INVALID.value[0]
    assert "faces[1].encoded" in results[1].error.message


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_every_truncation(suffix: str, client: FaceEmbeddingClient) -> None:
    """An image file cut anywhere is refused, never half-decoded."""
    data = encode(FACE, suffix)
    cuts = [data[:length] for length in range(1, len(data) - 12, len(data) // 25)]
    reasons = {getattr(result, "reason", "embedded") for result in client.embed_many(cuts)}
    assert reasons == {"IMAGE_UNREADABLE"}


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=str)
def test_compressed(kind: grpc.Compression, server: RunningServer) -> None:
    """A compressed message is refused before it unfolds, also where nobody has to be known."""
    with grpc.insecure_channel(server.address, compression=kind) as channel:
        request = health_pb2.HealthCheckRequest(service="x" * 100_000)
        with pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "disabled" in caught.value.details()


def test_large_health_check(server: RunningServer) -> None:
    """What is no name of a service is not kept, nor looked for."""
    with grpc.insecure_channel(server.address) as channel:
        request = health_pb2.HealthCheckRequest(service="x" * 100_000)
        with pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
