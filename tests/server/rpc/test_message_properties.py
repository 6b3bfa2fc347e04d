"""Messages of both contracts, whatever is in them: a real server answers each, and survives it."""

from collections.abc import Iterator

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.store import Store
from face_embedding_server.rpc.status import DOMAIN
from support import MOBILE, RunningServer, encode, running_server, small_settings, status_of
from support.damage import attempt, damaged

TIMEOUT_S = 60
V1, V2 = "face_embedding.v1.FaceEmbeddingService", "inference.GRPCInferenceService"
EMBED, COMPARE, INFER = f"/{V1}/Embed", f"/{V1}/Compare", f"/{V2}/ModelInfer"
STREAMS = (f"/{V1}/EmbedStream", f"/{V2}/ModelStreamInfer")
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
SIDE = 112
_PIXELS = cv2.resize(np.eye(8, dtype=np.uint8) * 200, (SIDE, SIDE)).repeat(3).tobytes()
FACE = np.frombuffer(_PIXELS, np.uint8).reshape(SIDE, SIDE, 3)
# Files of both: faces of the right size and others, whole and broken.
_FILES = [encode(FACE), encode(FACE, ".jpg"), encode(FACE[:40], ".webp"), b"junk", b""]


def _any_of(values: list[bytes]) -> SearchStrategy[bytes]:
    """Return one of them; by number, as Hypothesis shows what it draws from."""
    return st.integers(0, len(values) - 1).map(lambda number: values[number])


_FLOATS = st.floats(width=32)
_ENUMS = st.integers(-1, 5)
_NAMES = st.sampled_from(["", MOBILE, "other", "é" * 300])
_RAW = st.builds(
    pb.RawImage,
    data=_any_of([_PIXELS, b"", _PIXELS[:-1]]),
    width=st.sampled_from([0, 1, SIDE, 2**32 - 1]),
    height=st.sampled_from([0, SIDE, 2**31]),
    channel_order=_ENUMS,
)
_POINTS = st.builds(pb.Point, x=_FLOATS, y=_FLOATS)
_LANDMARKS = st.builds(
    pb.Landmarks,
    **{
        name: st.none() | _POINTS
        for name in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    },
)


def one_of(kind: type[Message], **fields: SearchStrategy[object]) -> SearchStrategy[Message]:
    """Return messages with one of some fields, or with none."""
    return st.one_of(
        st.builds(kind), *(st.builds(kind, **{name: of}) for name, of in fields.items())
    )


@st.composite
def _faces(draw: st.DrawFn) -> pb.Face:
    image = draw(one_of(pb.Face, encoded=_any_of(_FILES), raw=_RAW))
    prepared = draw(
        one_of(
            pb.Face,
            aligned=st.just(pb.Aligned()),
            landmarks=_LANDMARKS,
            detect=st.builds(pb.DetectFace, selection=_ENUMS),
        )
    )
    assert isinstance(image, pb.Face)
    image.MergeFrom(prepared)
    return image


_EMBEDDINGS = st.builds(
    pb.Embedding,
    values=st.lists(_FLOATS, max_size=3) | st.just([1.0] * 128),
    norm=_FLOATS,
    space=_NAMES,
)
_SIDES = st.none() | one_of(pb.CompareSide, face=_faces(), embedding=_EMBEDDINGS)
_EMBED_REQUESTS = st.builds(
    pb.EmbedRequest, model=_NAMES, faces=st.lists(_faces(), max_size=5), normalization=_ENUMS
)
_COMPARE_REQUESTS = st.builds(pb.CompareRequest, model=_NAMES, first=_SIDES, second=_SIDES) | (
    st.builds(
        pb.CompareRequest,
        first=_SIDES,
        second=_SIDES,
        threshold=st.floats(),
    )
)
_PARAMETERS = st.dictionaries(
    st.sampled_from(["channel_order", "preparation", "priority", "x"]),
    st.builds(oip.InferParameter, string_param=st.sampled_from(["BGR", "aligned", "detect", ""])),
    max_size=2,
)
_TENSORS = st.builds(
    oip.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["data", "face", "image", "x"]),
    datatype=st.sampled_from(["FP32", "UINT8", "BYTES", ""]),
    shape=st.sampled_from(
        [[1, SIDE, SIDE, 3], [1, 3, SIDE, SIDE], [1], [2, 1], [-1], [2**63 - 1], []]
    ),
    parameters=_PARAMETERS,
    contents=st.none()
    | one_of(
        oip.InferTensorContents,
        bytes_contents=st.lists(_any_of(_FILES), max_size=3),
        uint_contents=st.just([2**32 - 1] * 3),
        fp32_contents=st.lists(_FLOATS, max_size=3),
    ),
)
_INFER_REQUESTS = st.builds(
    oip.ModelInferRequest,
    model_name=_NAMES,
    model_version=st.sampled_from(["", "x"]),
    inputs=st.lists(_TENSORS, max_size=2),
    parameters=_PARAMETERS,
    outputs=st.lists(
        st.builds(
            oip.ModelInferRequest.InferRequestedOutputTensor,
            name=st.sampled_from(["pre_fc1", "embedding", "x"]),
        ),
        max_size=3,
    ),
    raw_input_contents=st.lists(
        _any_of([_PIXELS, FACE.astype("<f4").tobytes(), b"\xff" * 7, b""]), max_size=2
    ),
)
_GOOD_FACE = pb.Face(encoded=_FILES[0], aligned=pb.Aligned())
_SMALL_FACE = pb.Face(encoded=_FILES[2], detect=pb.DetectFace())
_SEEDS: list[Message] = [
    pb.EmbedRequest(model=MOBILE, faces=[_GOOD_FACE, _SMALL_FACE]),
    pb.CompareRequest(
        first=pb.CompareSide(face=_GOOD_FACE),
        second=pb.CompareSide(embedding=pb.Embedding(values=[1.0] * 128, space="x")),
        threshold=0.5,
    ),
    oip.ModelInferRequest(
        model_name=MOBILE,
        inputs=[
            oip.ModelInferRequest.InferInputTensor(
                name="image",
                datatype="BYTES",
                shape=[1],
                contents=oip.InferTensorContents(bytes_contents=[_FILES[1]]),
            )
        ],
    ),
]
SEEDS = [each.SerializeToString() for each in _SEEDS]


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[RunningServer]:
    with running_server(small_settings(store)) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def check(channel: grpc.Channel, method: str, data: bytes) -> None:
    """Call a method; it answers, or refuses with a reason of the contract that blames no server."""
    call = channel.unary_unary(method)
    found = attempt(grpc.RpcError, lambda: call(data, timeout=TIMEOUT_S))
    if isinstance(found, grpc.RpcError):
        assert found.code() not in FAULTS, found
        check_status(status_of(found))
    elif method == EMBED:
        for result in pb.EmbedResponse.FromString(found).results:
            if result.HasField("error"):
                check_status(result.error)


def check_status(status: status_pb2.Status) -> None:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == DOMAIN
    assert pb.ErrorReason.Value(f"ERROR_REASON_{info.reason}") != pb.ERROR_REASON_INTERNAL
    assert status.message


@settings(max_examples=150)
@given(message=_EMBED_REQUESTS)
def test_embed(channel: grpc.Channel, message: pb.EmbedRequest) -> None:
    """Any request to embed is answered, or refused with a reason, and no face with INTERNAL."""
    check(channel, EMBED, message.SerializeToString())


@settings(max_examples=150)
@given(message=_COMPARE_REQUESTS)
def test_compare(channel: grpc.Channel, message: pb.CompareRequest) -> None:
    """So is any request to compare."""
    check(channel, COMPARE, message.SerializeToString())


@settings(max_examples=150)
@given(message=_INFER_REQUESTS)
def test_infer(channel: grpc.Channel, message: oip.ModelInferRequest) -> None:
    """So is any request of the Open Inference Protocol."""
    check(channel, INFER, message.SerializeToString())


@settings(max_examples=300)
@given(data=damaged(SEEDS), method=st.sampled_from([EMBED, COMPARE, INFER]))
def test_damaged(channel: grpc.Channel, data: bytes, method: str) -> None:
    """So are damaged messages, and those of another method."""
    check(channel, method, data)


@settings(max_examples=30)
@given(
    items=st.lists(damaged(SEEDS) | st.just(SEEDS[0]), max_size=5), method=st.sampled_from(STREAMS)
)
def test_streams(channel: grpc.Channel, items: list[bytes], method: str) -> None:
    """A stream of damaged items is answered item by item, and ends well."""
    answers = list(channel.stream_stream(method)(iter(items), timeout=TIMEOUT_S))
    assert len(answers) == len(items)


@pytest.mark.slow
@settings(max_examples=1500)
@given(data=damaged(SEEDS), method=st.sampled_from([EMBED, COMPARE, INFER]))
def test_damaged_often(channel: grpc.Channel, data: bytes, method: str) -> None:
    """The same of many more damaged messages."""
    check(channel, method, data)
