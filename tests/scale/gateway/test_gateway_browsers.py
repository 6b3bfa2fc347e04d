"""What browsers need, through Envoy: pages of other origins, and gRPC-Web."""

import base64
import re
from typing import Any

import pytest
import requests
from gateway_calls import GRPC_WEB, SERVICE, TRAILERS, call, compare, frame, frames

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc

ALLOWED, OTHER = "https://faces.example.org", "https://other.example.org"


def preflight(url: str, origin: str) -> requests.Response:
    asks = {"access_control_request_method": "POST", "origin": origin}
    return call(url, None, "OPTIONS", access_control_request_headers="authorization", **asks)


@pytest.mark.parametrize("path", ["/v1/detect", f"/{SERVICE}/Detect"])
def test_preflight(path: str, url: str) -> None:
    """Browsers are told that pages of the allowed origins may call, and not those of others."""
    allowed, other = (preflight(url + path, origin).headers for origin in (ALLOWED, OTHER))
    assert allowed["access-control-allow-origin"] == ALLOWED
    assert "authorization" in allowed["access-control-allow-headers"]
    assert "access-control-allow-origin" not in other


@pytest.mark.parametrize("body", [{}, b"no JSON"], ids=["the server's", "Envoy's"])
def test_origins(body: Any, url: str) -> None:
    """Pages of the allowed origins may read answers, refusals too, and those of others none."""
    told = [call(f"{url}/v1/detect", body, origin=origin) for origin in (ALLOWED, OTHER)]
    assert [each.status_code for each in told] == [400, 400]
    assert [each.headers.get("access-control-allow-origin") for each in told] == [ALLOWED, None]


def in_web(url: str, method: str, body: bytes, **headers: str) -> requests.Response:
    return call(f"{url}/{SERVICE}/{method}", body, **(GRPC_WEB | headers))


def test_grpc_web(url: str, stub: pb_grpc.FaceEmbeddingServiceStub, face: pb.Face) -> None:
    """gRPC-Web answers with the message, and then with how the call ended."""
    answer = in_web(url, "Compare", frame(compare(face)))
    (_, message), (kind, trailers) = frames(answer.content)
    assert pb.CompareResponse.FromString(message) == stub.Compare(compare(face))
    assert kind == TRAILERS
    assert b"grpc-status:0" in trailers


def test_grpc_web_text(url: str, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """So does its form in base64."""
    kind = "application/grpc-web-text"
    body = base64.b64encode(frame(pb.ListModelsRequest()))
    answer = in_web(url, "ListModels", body, content_type=kind, accept=kind)
    # What is sent in parts is padded in parts.
    parts = re.findall(rb"[^=]+=*", answer.content)
    (_, message), _ = frames(b"".join(map(base64.b64decode, parts)))
    assert pb.ListModelsResponse.FromString(message) == stub.ListModels(pb.ListModelsRequest())


def test_grpc_web_refusal(url: str) -> None:
    """A refusal has its status, with the details, in headers that other origins' pages can read."""
    body = frame(pb.GetModelInfoRequest(model="other"))
    headers = in_web(url, "GetModelInfo", body, origin=ALLOWED).headers
    assert headers["grpc-status"] == "5"
    assert b"MODEL_UNKNOWN" in base64.b64decode(headers["grpc-status-details-bin"] + "==")
    assert "grpc-status-details-bin" in headers["access-control-expose-headers"]


def test_grpc_web_stream(url: str, face: pb.Face) -> None:
    """A stream's items are sent at once, and answered each as it is done."""
    items = [pb.EmbedStreamRequest(id=name, face=face) for name in "abc"]
    answer = in_web(url, "EmbedStream", b"".join(map(frame, items)))
    *messages, (kind, _) = frames(answer.content)
    told = [pb.EmbedStreamResponse.FromString(message) for _, message in messages]
    assert sorted(each.id for each in told) == ["a", "b", "c"]
    assert kind == TRAILERS
