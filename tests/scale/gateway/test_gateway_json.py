"""JSON through Envoy, by the configuration that is deployed, and the document that describes it."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from gateway_calls import ROOT, call, compare, embed, photograph, sent
from google.protobuf import json_format
from google.protobuf.message import Message
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from support import MOBILE, encode, person

MIB = 1 << 20
OPENAPI: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8"))


def validator(content: dict[str, Any]) -> Draft202012Validator:
    """Return what validates a body by the document, which has all that is in it."""
    components = copy.deepcopy(OPENAPI["components"])
    for each in components["schemas"].values():
        if each.get("properties") and "@type" not in each["properties"]:
            each["additionalProperties"] = False
    named = content["content"]["application/json"]["schema"]
    return Draft202012Validator({**named, "components": components})


STATUS = validator(OPENAPI["paths"]["/v1/models"]["get"]["responses"]["default"])
UNREADABLE = pb.Face(encoded=b"none", aligned=pb.Aligned())
# By the method: the path, and its request; those without one are asked for by the path.
ROUTES: dict[str, tuple[str, Callable[[pb.Face], Message]]] = {
    "Embed": ("/v1/embeddings", lambda face: embed(face, photograph(), UNREADABLE)),
    "Compare": ("/v1/compare", lambda face: compare(face, threshold=0.5)),
    "Detect": ("/v1/detect", lambda _: pb.DetectRequest(encoded=encode(person(), ".jpg"))),
    "ListModels": ("/v1/models", lambda _: pb.ListModelsRequest()),
    "GetModelInfo": (f"/v1/models/{MOBILE}", lambda _: pb.GetModelInfoRequest(model=MOBILE)),
}


ALIGNED = {"encoded": "AA==", "aligned": {}}
# By what they lack: the path, and the body.
INCOMPLETE: dict[str, tuple[str, Any]] = {
    "faces": ("/v1/embeddings", {}),
    "an image": ("/v1/embeddings", {"faces": [{"aligned": {}}]}),
    "a preparation": ("/v1/embeddings", {"faces": [{"encoded": "AA=="}]}),
    "pixels": ("/v1/embeddings", {"faces": [{"raw": {"width": 1, "height": 1}, "aligned": {}}]}),
    "a side": ("/v1/compare", {"first": {"face": ALIGNED}}),
    "what to compare": ("/v1/compare", {"first": {"face": ALIGNED}, "second": {}}),
    "a photograph": ("/v1/detect", {"upright": "UPRIGHT_AS_IS"}),
}


@pytest.mark.parametrize("method", ROUTES)
def test_answers(
    method: str, url: str, stub: pb_grpc.FaceEmbeddingServiceStub, face: pb.Face
) -> None:
    """Each method with a path answers in JSON what it answers by gRPC, as the document has it."""
    path, make = ROUTES[method]
    request = make(face)
    (operation,) = OPENAPI["paths"][path.replace(MOBILE, "{model}")].values()
    body = sent(request) if "requestBody" in operation else None
    if body:
        validator(operation["requestBody"]).validate(body)
    answer = call(url + path, body)
    assert answer.status_code == 200, answer.content
    validator(operation["responses"]["200"]).validate(answer.json())
    by_grpc = getattr(stub, method)(request, timeout=60)
    told = json_format.ParseDict(answer.json(), type(by_grpc)())
    for mine, other in zip(values_of(told), values_of(by_grpc), strict=True):
        # Engines round differently for a lone face and for several.
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
    assert told == by_grpc


def values_of(answer: Any) -> list[list[float]]:
    """Take the numbers of embeddings out of an answer."""
    results = answer.results if isinstance(answer, pb.EmbedResponse) else []
    embeddings = [each.embedding for each in results if each.HasField("embedding")]
    found = [[*each.values, each.norm] for each in embeddings]
    for each in embeddings:
        del each.values[:]
        each.norm = 0
    return found


def test_names(url: str, face: pb.Face) -> None:
    """JSON has the names of the contract, and what is 0, false or empty too."""
    answer = call(f"{url}/v1/compare", sent(compare(face))).json()
    assert set(answer) == {
        *("cosine_similarity", "decision", "space", "first", "second", "model_version")
    }
    assert answer["first"] == {"warnings": [], "faces_found": 0}
    assert answer["decision"] == "DECISION_UNSPECIFIED"


def test_null(url: str, face: pb.Face) -> None:
    """Null in a list is dropped, as the documentation says, and the document does not have it."""
    body = sent(embed(face))
    body["faces"].insert(0, None)
    assert len(call(f"{url}/v1/embeddings", body).json()["results"]) == 1
    request = validator(OPENAPI["paths"]["/v1/embeddings"]["post"]["requestBody"])
    assert {tuple(error.path) for error in request.iter_errors(body)} == {("faces", 0)}


def broken(face: pb.Face, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    request = sent(embed(face))
    change(request)
    return request


# The path, the body, and the codes of HTTP and of google.rpc, the reason, and part of the message.
Refusal = tuple[str, Callable[[pb.Face], Any], int, int, str, str]
REFUSALS: dict[str, Refusal] = {
    "bad image": (
        "/v1/embeddings",
        lambda _: sent(embed(UNREADABLE)),
        *(400, 3, "IMAGE_UNREADABLE", "faces[0].encoded: "),
    ),
    "unknown model": (
        "/v1/embeddings",
        lambda face: sent(embed(face, model="other")),
        *(404, 5, "MODEL_UNKNOWN", "'other'"),
    ),
    "unknown model, described": (
        "/v1/models/other",
        lambda _: None,
        *(404, 5, "MODEL_UNKNOWN", "'other'"),
    ),
    "no base64": (
        "/v1/embeddings",
        lambda face: broken(face, lambda request: request["faces"][0].update(encoded="%")),
        *(400, 3, "", "faces[0].encoded: invalid value"),
    ),
    "unknown value": (
        "/v1/embeddings",
        lambda face: broken(face, lambda request: request.update(normalization="x")),
        *(400, 3, "", "normalization: invalid value"),
    ),
    "no JSON": ("/v1/embeddings", lambda _: b'{"faces":', *(400, 3, "", "Unexpected end")),
    "unknown parameter": ("/v1/models?x=1", lambda _: None, *(400, 3, "", '"x"')),
    "unknown path": ("/v1/nothing", lambda _: {}, *(404, 5, "", "nothing at this path")),
    "another verb": ("/v1/embeddings", lambda _: None, *(404, 5, "", "nothing at this path")),
    "too large as a message": (
        "/v1/compare",
        lambda _: b'{"first": {"embedding": {"values": [%s]}}}' % b",".join([b"0.5"] * 4 * MIB),
        *(429, 8, "", "larger than max"),
    ),
    "too large": (
        "/v1/embeddings",
        lambda _: sent(embed(pb.Face(encoded=bytes(16 * MIB), aligned=pb.Aligned()))),
        *(413, 8, "", "Too Large"),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str, url: str, face: pb.Face) -> None:
    """What the server or Envoy refuses is a google.rpc.Status with the code of HTTP for it."""
    path, body, http_code, code, reason, words = REFUSALS[name]
    answer = call(url + path, body(face))
    assert (answer.status_code, answer.json()["code"]) == (http_code, code)
    assert words in answer.json()["message"]
    STATUS.validate(answer.json())
    assert [detail["reason"] for detail in answer.json()["details"]] == ([reason] if reason else [])


def test_document() -> None:
    """The document is one of OpenAPI, and has the paths that are tried here."""
    validate(OPENAPI)
    assert set(OPENAPI["paths"]) == {path.replace(MOBILE, "{model}") for path, _ in ROUTES.values()}


def test_deadline(url: str, face: pb.Face) -> None:
    """What a caller's deadline ends is 504."""
    answer = call(f"{url}/v1/embeddings", sent(embed(*[face] * 60)), grpc_timeout="1m")
    assert (answer.status_code, answer.json()["code"]) == (504, 4)


@pytest.mark.parametrize("lacking", INCOMPLETE)
def test_incomplete(lacking: str, url: str) -> None:
    """What lacks something that is required is no request by the document, and is refused."""
    path, body = INCOMPLETE[lacking]
    assert not validator(OPENAPI["paths"][path]["post"]["requestBody"]).is_valid(body)
    assert call(url + path, body).status_code == 400
