"""Calls of the gateway as a browser or curl makes them."""

import json
from typing import Any

import requests
from google.protobuf.message import Message

_TIMEOUT_S = 60
_HEADER_BYTES = 5
TRAILERS = 0x80
GRPC_WEB = {"content_type": "application/grpc-web+proto", "x_grpc_web": "1"}


def call(url: str, body: Any = None, method: str = "", **headers: str) -> requests.Response:
    """Make a request; a body that is no bytes is sent as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    sent = {"content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    method = method or ("GET" if data is None else "POST")
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, data=data, headers=sent, timeout=_TIMEOUT_S)


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
