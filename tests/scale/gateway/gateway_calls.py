"""Calls of the gateway as a browser or curl makes them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from google.protobuf import json_format
from google.protobuf.message import Message
from proxies import proxying

from face_embedding.v1 import face_embedding_pb2 as pb
from support import encode, person
from support.processes import Running

ROOT = Path(__file__).parents[3]
SERVICE = "face_embedding.v1.FaceEmbeddingService"
# Of gRPC-Web: the kind of a frame with trailers, and the headers of a request.
TRAILERS = 0x80
GRPC_WEB = {"content_type": "application/grpc-web+proto", "x_grpc_web": "1"}
_TIMEOUT_S = 60
_HEADER_BYTES = 5


def call(url: str, body: Any = None, method: str = "", **headers: str) -> requests.Response:
    """Make a request; a body that is no bytes is sent as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    given = {"content-type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    method = method or ("GET" if data is None else "POST")
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, data=data, headers=given, timeout=_TIMEOUT_S)


def frame(message: Message) -> bytes:
    """Return a message as gRPC and gRPC-Web send it."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(_HEADER_BYTES - 1, "big") + data


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Return the kinds and the contents of what an answer in gRPC-Web has."""
    found = []
    while body:
        size = int.from_bytes(body[1:_HEADER_BYTES], "big")
        found.append((body[0], body[_HEADER_BYTES : _HEADER_BYTES + size]))
        body = body[_HEADER_BYTES + size :]
    return found


@contextlib.contextmanager
def before(server: Running, folder: Path, *changes: dict[str, Any]) -> Iterator[str]:
    """Run Envoy before a server, with changes; give where it answers."""
    with proxying([server.port], folder, *changes) as made:
        yield f"http://{made.address}"


def embed(*faces: pb.Face, **fields: Any) -> pb.EmbedRequest:
    return pb.EmbedRequest(faces=faces, **fields)


def compare(face: pb.Face, **fields: Any) -> pb.CompareRequest:
    side = pb.CompareSide(face=face)
    return pb.CompareRequest(first=side, second=side, **fields)


def sent(request: Message) -> dict[str, Any]:
    """Return a request as JSON."""
    found: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
    return found


def photograph() -> pb.Face:
    """Return a face that is to be found first."""
    return pb.Face(encoded=encode(person(), ".jpg"), detect=pb.DetectFace())
