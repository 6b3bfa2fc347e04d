"""An error shows no more of what its caller wrote than helps."""

from collections.abc import Callable, Mapping

import grpc
import pytest
from google.protobuf.message import Message

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.texts import clipped
from support import info_of, status_of

LONG = "é" * 100_000
SHOWN = "é" * 59 + "…"
SERVICE = "/face_embedding.v1.FaceEmbeddingService/"
V2 = "/inference.GRPCInferenceService/"


def infer(**given: object) -> oip.ModelInferRequest:
    """A request with one input, and what is given beside."""
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], **given}
    outputs = tensor.pop("outputs", [])
    parameters = tensor.pop("request_parameters", {})
    assert isinstance(parameters, Mapping)
    request = oip.ModelInferRequest(
        inputs=[oip.ModelInferRequest.InferInputTensor(**tensor)],
        outputs=outputs,  # type: ignore[arg-type]  # As a case gives them.
    )
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request


def output(**given: object) -> list[oip.ModelInferRequest.InferRequestedOutputTensor]:
    return [oip.ModelInferRequest.InferRequestedOutputTensor(**given)]


ANY = oip.InferParameter(string_param="x")
CASES: dict[str, tuple[str, Callable[[], Message]]] = {
    "model": (f"{SERVICE}Embed", lambda: pb.EmbedRequest(model=LONG)),
    "model of the info": (f"{SERVICE}GetModelInfo", lambda: pb.GetModelInfoRequest(model=LONG)),
    "operating point": (f"{SERVICE}Compare", lambda: pb.CompareRequest(operating_point=LONG)),
    "space": (
        f"{SERVICE}Compare",
        lambda: pb.CompareRequest(first=pb.CompareSide(embedding=pb.Embedding(space=LONG))),
    ),
    "V2 version": (f"{V2}ModelMetadata", lambda: oip.ModelMetadataRequest(version=LONG)),
    "V2 model": (f"{V2}ModelMetadata", lambda: oip.ModelMetadataRequest(name=LONG)),
    "V2 input": (f"{V2}ModelInfer", lambda: infer(name=LONG)),
    "V2 datatype": (f"{V2}ModelInfer", lambda: infer(datatype=LONG)),
    "V2 parameter of an input": (f"{V2}ModelInfer", lambda: infer(parameters={LONG: ANY})),
    "V2 parameter": (f"{V2}ModelInfer", lambda: infer(request_parameters={LONG: "x"})),
    "V2 choice": (f"{V2}ModelInfer", lambda: infer(request_parameters={"preparation": LONG})),
    "V2 output": (f"{V2}ModelInfer", lambda: infer(outputs=output(name=LONG))),
    "V2 parameter of an output": (
        f"{V2}ModelInfer",
        lambda: infer(outputs=output(name="embedding", parameters={LONG: ANY})),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_clips_texts(name: str, channel: grpc.Channel) -> None:
    """A long text of the caller's is cut in the message, and the rest of that is there."""
    method, request = CASES[name]
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(request().SerializeToString())
    message = refused.value.details()
    assert SHOWN in message
    assert "é" * 60 not in message
    assert len(message) < 400
    assert info_of(status_of(refused.value)).reason != "INTERNAL"


def test_clips_shapes(channel: grpc.Channel) -> None:
    """A long shape is cut in the message."""
    request = infer(name="face", datatype="UINT8", shape=[1] * 30_000)
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"{V2}ModelInfer")(request.SerializeToString())
    assert "not [1, 1, 1, " in refused.value.details()
    assert len(refused.value.details()) < 200


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ([2, 112, 112, 3], "[2, 112, 112, 3]"),
        ([1] * 1_000, "[" + "1, " * 19 + "1…"),
    ],
)
def test_clipped(given: str | list[int], shown: str) -> None:
    """What is short is shown as it is, and what is long as sixty characters."""
    assert clipped(given) == shown
