"""The Open Inference Protocol as no well-made client speaks it, and the end of its streams."""

import json
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.rpc.open_inference import tensors
from support import encode, info_of, person, running_server, small_settings, status_of

TIMEOUT_S = 60
VALUES = 112 * 112 * 3
FACE, PLANES = [1, 112, 112, 3], [1, 3, 112, 112]


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> oip_grpc.GRPCInferenceServiceStub:
    return oip_grpc.GRPCInferenceServiceStub(channel)


def request_of(
    name: str, datatype: str, shape: list[int], *raw: bytes, **contents: Any
) -> oip.ModelInferRequest:
    """A request with one input; its values are raw, or in a typed field of that name."""
    request = oip.ModelInferRequest(raw_input_contents=raw)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return request


def element(data: bytes, length: int | None = None) -> bytes:
    """An element of BYTES: its length, or another one, and then its bytes."""
    return struct.pack("<I", len(data) if length is None else length) + data


def with_parameter(request: oip.ModelInferRequest, **parameter: Any) -> oip.ModelInferRequest:
    request.parameters["channel_order"].MergeFrom(oip.InferParameter(**parameter))
    return request


def with_outputs(*names: str, **parameters: str) -> oip.ModelInferRequest:
    request = request_of("face", "UINT8", FACE, bytes(VALUES))
    for name in names:
        output = request.outputs.add(name=name)
        for key, value in parameters.items():
            output.parameters[key].string_param = value
    return request


REFUSED = {
    "nothing": (oip.ModelInferRequest(), "exactly one input", "inputs"),
    "no shape": (request_of("face", "UINT8", []), "[n, 112, 112, 3]", "inputs[0].shape"),
    "negative": (request_of("face", "UINT8", [-1, 112, 112, 3]), "no face", "inputs[0].shape"),
    "vast": (request_of("face", "UINT8", [2**62, 112, 112, 3]), "at most 4", "inputs[0].shape"),
    "no values": (
        request_of("face", "UINT8", FACE),
        "37,632 values of uint8, there are 0",
        "inputs[0].contents",
    ),
    "short": (
        request_of("face", "UINT8", FACE, bytes(VALUES - 1)),
        "there are 37,631",
        "raw_input_contents[0]",
    ),
    "long": (
        request_of("face", "UINT8", FACE, bytes(VALUES + 1)),
        "there are 37,633",
        "raw_input_contents[0]",
    ),
    "half a value": (
        request_of("data", "FP32", PLANES, bytes(4 * VALUES + 2)),
        "there are 37,632.5",
        "raw_input_contents[0]",
    ),
    "other field": (
        request_of("face", "UINT8", FACE, int_contents=[0] * VALUES),
        "there are 0",
        "inputs[0].contents",
    ),
    "no uint8": (
        request_of("face", "UINT8", FACE, uint_contents=[256] * VALUES),
        "256 is no UINT8",
        "inputs[0].contents",
    ),
    "twice": (
        request_of("face", "UINT8", FACE, bytes(VALUES), uint_contents=[0] * VALUES),
        "give the values once",
        "raw_input_contents",
    ),
    "two raw": (
        request_of("face", "UINT8", FACE, bytes(VALUES), bytes(VALUES)),
        "give the values once",
        "raw_input_contents",
    ),
    "beyond pixels": (
        request_of("data", "FP32", PLANES, fp32_contents=[256.0] * VALUES),
        "from 256 to 256",
        "inputs[0][0]",
    ),
    "scaled": (
        request_of("data", "FP32", PLANES, fp32_contents=[1.0] * VALUES),
        "scaled to 1",
        "inputs[0][0]",
    ),
    "cut length": (
        request_of("image", "BYTES", [1], b"\1\0"),
        "these end before",
        "raw_input_contents[0]",
    ),
    "cut element": (
        request_of("image", "BYTES", [1], element(b"abc", length=2**32 - 1)),
        "these end before",
        "raw_input_contents[0]",
    ),
    "fewer images": (
        request_of("image", "BYTES", [2], element(b"abc")),
        "stands for 2 images, there are 1",
        "inputs[0]",
    ),
    "more images": (
        request_of("image", "BYTES", [1], element(b"") * 100),
        "stands for 1 images, there are more than 1",
        "inputs[0]",
    ),
    "rows": (
        request_of("image", "BYTES", [1, 2], element(b"abc") * 2),
        "'image' is [n]",
        "inputs[0].shape",
    ),
    "empty image": (
        request_of("image", "BYTES", [1], element(b"")),
        "JPEG, PNG, WebP, AVIF or HEIC",
        "inputs[0][0]",
    ),
    "parameter of another type": (
        with_parameter(request_of("face", "UINT8", FACE, bytes(VALUES)), int64_param=1),
        "one of the strings BGR, RGB",
        "parameters",
    ),
    "output twice": (with_outputs("pre_fc1", "pre_fc1"), "asked for twice", "outputs"),
    "many outputs": (with_outputs(*["pre_fc1"] * 3), "only 2 outputs", "outputs"),
    "output parameter": (
        with_outputs("pre_fc1", classification="3"),
        "no parameter 'classification'",
        "outputs[0].parameters",
    ),
}


@pytest.mark.parametrize(("request_", "message", "field"), REFUSED.values(), ids=REFUSED)
def test_refusals(
    request_: oip.ModelInferRequest,
    message: str,
    field: str,
    stub: oip_grpc.GRPCInferenceServiceStub,
) -> None:
    """Tensors that are not what they say are refused, with what was wrong and where."""
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(request_, timeout=TIMEOUT_S)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in raised.value.details()
    assert info_of(status_of(raised.value)).metadata["field"] == field


def test_typed_and_raw(stub: oip_grpc.GRPCInferenceServiceStub, faces: list[Face]) -> None:
    """Values give the same embedding as numbers, raw, as planes and as a file."""
    face, planes = faces[0], faces[0].transpose(2, 0, 1).astype("<f4")
    png = encode(face)
    requests = [
        request_of("face", "UINT8", FACE, face.tobytes()),
        request_of("face", "UINT8", FACE, uint_contents=face.ravel().tolist()),
        request_of("data", "FP32", PLANES, planes.tobytes()),
        request_of("data", "FP32", PLANES, fp32_contents=planes.ravel().tolist()),
        request_of("image", "BYTES", [1], element(png)),
        request_of("image", "BYTES", [1, 1], bytes_contents=[png]),
    ]
    answers = [stub.ModelInfer(each, timeout=TIMEOUT_S) for each in requests]
    assert len({values_of(each) for each in answers}) == 1


def test_typed_values_at_a_time() -> None:
    """Few typed values are Python's at a time: making all of them at once holds the interpreter."""
    request = request_of("data", "FP32", PLANES, fp32_contents=[0.5, *range(8 * VALUES - 1)])
    tracemalloc.start()
    try:
        values = tensors.numbers(request, np.float32, (8, *PLANES[1:]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(values.ravel(), request.inputs[0].contents.fp32_contents)
    assert peak < values.nbytes + (2 << 20)  # Measured: 1.6 MB more, and 10.8 if it is at once.


def test_precision(stub: oip_grpc.GRPCInferenceServiceStub, faces: list[Face]) -> None:
    """An answer names the precision that its embeddings were made at."""
    answer = stub.ModelInfer(
        request_of("face", "UINT8", FACE, faces[0].tobytes()), timeout=TIMEOUT_S
    )
    assert answer.parameters["precision"].string_param == "f32"


def test_ignored_parameters(stub: oip_grpc.GRPCInferenceServiceStub, faces: list[Face]) -> None:
    """What clients of other servers send along changes nothing."""
    request = request_of("face", "UINT8", FACE, faces[0].tobytes())
    plain = stub.ModelInfer(request, timeout=TIMEOUT_S)
    request.parameters["priority"].int64_param = 1
    request.inputs[0].parameters["content_type"].string_param = "np"
    assert stub.ModelInfer(request, timeout=TIMEOUT_S) == plain


def test_upright(stub: oip_grpc.GRPCInferenceServiceStub) -> None:
    """Photographs on their side are turned if that is asked for, and the answer says how far."""
    small = np.ascontiguousarray(person()[:320:2, 100:420:2])
    files = [encode(small), encode(np.ascontiguousarray(np.rot90(small)))]
    request = request_of("image", "BYTES", [2], b"".join(map(element, files)))
    request.parameters["preparation"].string_param = "largest"
    request.parameters["upright"].string_param = "auto"
    answer = stub.ModelInfer(request, timeout=TIMEOUT_S)
    assert json.loads(answer.parameters["turned_degrees"].string_param) == [0, 90]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"upright": "auto"}, "'upright' is for photographs"),
        ({"upright": "yes", "preparation": "detect"}, "one of the strings as_is, auto"),
    ],
    ids=["aligned", "unknown"],
)
def test_not_upright(
    parameters: dict[str, str], message: str, stub: oip_grpc.GRPCInferenceServiceStub
) -> None:
    """What cannot be turned, and what is not known, is refused."""
    request = request_of("image", "BYTES", [1], element(b"abc"))
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    with pytest.raises(grpc.RpcError, match=message):
        stub.ModelInfer(request, timeout=TIMEOUT_S)


@pytest.mark.parametrize("name", ["face", "image"])
@pytest.mark.parametrize(
    ("parameter", "warned"),
    [
        ({}, False),
        ({"string_param": "false"}, False),
        ({"string_param": "true"}, True),
        ({"bool_param": True}, True),
    ],
    ids=["by default", "false", "true", "truth value"],
)
def test_check_alignment(
    name: str,
    parameter: dict[str, Any],
    warned: bool,
    stub: oip_grpc.GRPCInferenceServiceStub,
    faces: list[Face],
) -> None:
    """An aligned face that is on its side is warned of where it is looked at, and that is asked."""
    sideways = np.ascontiguousarray(np.rot90(faces[0]))
    request = (
        request_of("face", "UINT8", FACE, sideways.tobytes())
        if name == "face"
        else request_of("image", "BYTES", [1], element(encode(sideways)))
    )
    if parameter:
        request.parameters["check_alignment"].MergeFrom(oip.InferParameter(**parameter))
    answer = stub.ModelInfer(request, timeout=TIMEOUT_S)
    found = json.loads(answer.parameters["warnings"].string_param or "[[]]")
    assert ("MISALIGNED" in found[0]) == warned


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"check_alignment": "true", "preparation": "detect"}, "is for aligned faces"),
        ({"check_alignment": "yes"}, "one of the strings false, true"),
    ],
    ids=["photograph", "unknown"],
)
def test_not_checked(
    parameters: dict[str, str], message: str, stub: oip_grpc.GRPCInferenceServiceStub
) -> None:
    """Of what is aligned by the server, and of what is not known, that is refused."""
    request = request_of("image", "BYTES", [1], element(b"abc"))
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    with pytest.raises(grpc.RpcError, match=message):
        stub.ModelInfer(request, timeout=TIMEOUT_S)


def values_of(answer: oip.ModelInferResponse) -> bytes:
    """The bytes of the first output."""
    if answer.raw_output_contents:
        return answer.raw_output_contents[0]
    values = answer.outputs[0].contents.fp32_contents
    return struct.pack(f"<{len(values)}f", *values)


def test_stream_ends(store: Store, faces: list[Face]) -> None:
    """A stopping server answers what a stream has sent, and ends even an idle one."""
    over = threading.Event()

    def requests() -> Iterator[oip.ModelInferRequest]:
        yield request_of("face", "UINT8", FACE, faces[0].tobytes())
        over.wait()

    with (
        running_server(small_settings(store, detector="none", grace_s=600)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        infer = oip_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer
        stream = infer(requests(), timeout=TIMEOUT_S)
        assert next(stream).infer_response.outputs
        running.server.stop()
        with pytest.raises(grpc.RpcError, match="the server is stopping") as raised:
            next(stream)
        over.set()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_stream_of_batches(stub: oip_grpc.GRPCInferenceServiceStub, faces: list[Face]) -> None:
    """A request of a stream may hold several faces."""
    batch = request_of("face", "UINT8", [2, 112, 112, 3], faces[0].tobytes() + faces[1].tobytes())
    (answer,) = stub.ModelStreamInfer(iter([batch]), timeout=TIMEOUT_S)
    assert answer.error_message == ""
    assert list(answer.infer_response.outputs[0].shape) == [2, 128]
