"""JSON, gRPC-Web and files through Envoy, by the configuration that is deployed."""

import base64
import contextlib
import copy
import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import web
import yaml
from google.protobuf import json_format
from google.protobuf.message import Message
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from proxies import Proxy, proxying

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image
from support import MOBILE, encode, person, wait_until
from support.processes import FAULTY, Running, free_port, serving

ROOT = Path(__file__).parents[2]
SERVICE = "face_embedding.v1.FaceEmbeddingService"
MIB = 1 << 20
ALLOWED, OTHER = "https://faces.example.org", "https://other.example.org"


OPENAPI: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8"))


def schema(name: str) -> Draft202012Validator:
    """Return what validates a message of the document, which has all that is in it."""
    components = copy.deepcopy(OPENAPI["components"])
    for each in components["schemas"].values():
        if each.get("properties") and "@type" not in each["properties"]:
            each["additionalProperties"] = False
    return Draft202012Validator({"$ref": name, "components": components})


def schema_of(path: str, verb: str, code: str) -> Draft202012Validator:
    named = "/v1/models/{model}" if path.startswith("/v1/models/") else path
    content = OPENAPI["paths"][named][verb]["responses"][code]["content"]
    return schema(content["application/json"]["schema"]["$ref"])


STATUS = schema_of("/v1/models", "get", "default")


@pytest.fixture(scope="module")
def running(store: Store) -> Iterator[Running]:
    """A server."""
    with serving(store.root) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Envoy before it."""
    with proxying([running.port], tmp_path_factory.mktemp("envoy")) as made:
        yield made


@pytest.fixture
def url(proxy: Proxy) -> str:
    return f"http://{proxy.address}"


@pytest.fixture
def stub(proxy: Proxy) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    """Calls of gRPC through the same port."""
    with grpc.insecure_channel(proxy.address) as channel:
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture
def face(faces: list[Image]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())


def detected() -> pb.Face:
    return pb.Face(encoded=encode(person(), ".jpg"), detect=pb.DetectFace())


def embed(*faces: pb.Face, **fields: Any) -> pb.EmbedRequest:
    return pb.EmbedRequest(faces=faces, **fields)


def compare(face: pb.Face, **fields: Any) -> pb.CompareRequest:
    side = pb.CompareSide(face=face)
    return pb.CompareRequest(first=side, second=side, **fields)


def sent(request: Message) -> dict[str, Any]:
    """Return a request as JSON."""
    found: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
    return found


# By the method: the path, and its request; those without one are asked for by the path.
ROUTES: dict[str, tuple[str, Callable[[pb.Face], Message]]] = {
    "Embed": ("/v1/embeddings", lambda face: embed(face, detected(), pb.Face(encoded=b"none"))),
    "Compare": ("/v1/compare", lambda face: compare(face, threshold=0.5)),
    "Detect": ("/v1/detect", lambda _: pb.DetectRequest(encoded=encode(person(), ".jpg"))),
    "ListModels": ("/v1/models", lambda _: pb.ListModelsRequest()),
    "GetModelInfo": (f"/v1/models/{MOBILE}", lambda _: pb.GetModelInfoRequest(model=MOBILE)),
}


@pytest.mark.parametrize("method", ROUTES)
def test_answers(
    method: str, url: str, stub: pb_grpc.FaceEmbeddingServiceStub, face: pb.Face
) -> None:
    """Each method with a path answers in JSON what it answers by gRPC, as the document has it."""
    path, make = ROUTES[method]
    request = make(face)
    verb = "get" if path.startswith("/v1/models") else "post"
    answer = web.call(url + path, sent(request) if verb == "post" else None)
    assert answer.status_code == 200, answer.content
    schema_of(path, verb, "200").validate(answer.json())
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
    answer = web.call(f"{url}/v1/compare", sent(compare(face))).json()
    assert set(answer) == {
        *("cosine_similarity", "decision", "space", "first", "second", "model_version")
    }
    assert answer["first"] == {"warnings": [], "faces_found": 0}
    assert answer["decision"] == "DECISION_UNSPECIFIED"


def broken(face: pb.Face, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    request = sent(embed(face))
    change(request)
    return request


# The path, the body, and the codes of HTTP and of google.rpc, the reason, and part of the message.
Refusal = tuple[str, Callable[[pb.Face], Any], int, int, str, str]
REFUSALS: dict[str, Refusal] = {
    "bad image": (
        "/v1/embeddings",
        lambda _: sent(embed(pb.Face(encoded=b"none", aligned=pb.Aligned()))),
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
    answer = web.call(url + path, body(face))
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
    answer = web.call(f"{url}/v1/embeddings", sent(embed(*[face] * 60)), grpc_timeout="1m")
    assert (answer.status_code, answer.json()["code"]) == (504, 4)


@contextlib.contextmanager
def before(server: Running, folder: Path) -> Iterator[str]:
    """Run Envoy before a server; give where it answers."""
    with proxying([server.port], folder) as made:
        yield f"http://{made.address}"


def test_access(store: Store, face: pb.Face, tmp_path: Path) -> None:
    """A token goes on to the server: without one it is 401, without the permission 403."""
    digest = hashlib.sha256(b"secret").hexdigest()
    file = tmp_path / "access.toml"
    file.write_text(f'[embedder]\npermissions = ["embed"]\ntokens = [{{ sha256 = "{digest}" }}]\n')
    flags = ("--access", str(file), "--allow-plaintext-tokens", "true", "--detector", "none")
    with serving(store.root, *flags) as server, before(server, tmp_path) as url:
        embedding = f"{url}/v1/embeddings", sent(embed(face))
        comparing = f"{url}/v1/compare", sent(compare(face))
        found = [
            web.call(*embedding),
            web.call(*embedding, authorization="Bearer other"),
            web.call(*comparing, authorization="Bearer secret"),
            web.call(*embedding, authorization="Bearer secret"),
        ]
    assert [each.status_code for each in found] == [401, 401, 403, 200]
    reasons = [each.json()["details"][0]["reason"] for each in found[:3]]
    assert reasons == ["CREDENTIALS_MISSING", "CREDENTIALS_UNKNOWN", "PERMISSION"]


def test_overloaded(store: Store, face: pb.Face, tmp_path: Path) -> None:
    """What servers refuse that have too much is 429, with when to try again."""
    mode = tmp_path / "mode"
    flags = ("--max-bytes-in-flight", str(MIB), "--grace-s", "1", "--detector", "none")
    with (
        serving(store.root, *flags, program=(FAULTY, str(mode))) as server,
        before(server, tmp_path) as url,
        grpc.insecure_channel(server.address) as channel,
    ):
        mode.write_text("hang")
        pixels = pb.RawImage(
            data=bytes(3 * 112**2), width=112, height=112, channel_order="CHANNEL_ORDER_BGR"
        )
        full = embed(*[pb.Face(raw=pixels, aligned=pb.Aligned())] * 32)
        occupied = pb_grpc.FaceEmbeddingServiceStub(channel).Embed.future(full)
        wait_until(lambda: server.metric("queue_depth") > 0)
        answer = web.call(f"{url}/v1/embeddings", sent(embed(face)))
        assert not occupied.done()
    assert (answer.status_code, answer.json()["code"]) == (429, 8)
    details = {each.pop("@type").rpartition(".")[2]: each for each in answer.json()["details"]}
    assert details["ErrorInfo"]["reason"] == "OVERLOADED"
    assert details["RetryInfo"]["retry_delay"].endswith("s")


def test_stopping(store: Store, tmp_path: Path) -> None:
    """While the only server stops, and when it is gone, it is 503; gRPC has Envoy's own words."""
    flags = ("--drain-s", "30", "--detector", "none")
    with serving(store.root, *flags) as server, before(server, tmp_path) as url:
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: web.call(f"{url}/v1/models").status_code == 503)
        stopping = web.call(f"{url}/v1/models").json()
        server.process.kill()
        server.process.wait()
        wait_until(lambda: "no healthy" in web.call(f"{url}/v1/models").json()["message"])
        gone = web.call(f"{url}/v1/models")
        with (
            grpc.insecure_channel(url.removeprefix("http://")) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            pb_grpc.FaceEmbeddingServiceStub(channel).ListModels(pb.ListModelsRequest())
    assert (stopping["code"], gone.status_code, gone.json()["code"]) == (14, 503, 14)
    assert caught.value.details() == "no healthy upstream"


def preflight(url: str, origin: str) -> requests.Response:
    asks = {"access_control_request_method": "POST", "origin": origin}
    return web.call(url, None, "OPTIONS", access_control_request_headers="authorization", **asks)


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
    told = [web.call(f"{url}/v1/detect", body, origin=origin) for origin in (ALLOWED, OTHER)]
    assert [each.status_code for each in told] == [400, 400]
    assert [each.headers.get("access-control-allow-origin") for each in told] == [ALLOWED, None]


def in_web(url: str, method: str, body: bytes, **headers: str) -> requests.Response:
    return web.call(f"{url}/{SERVICE}/{method}", body, **(web.GRPC_WEB | headers))


def test_grpc_web(url: str, stub: pb_grpc.FaceEmbeddingServiceStub, face: pb.Face) -> None:
    """gRPC-Web answers with the message, and then with how the call ended."""
    answer = in_web(url, "Compare", web.frame(compare(face)))
    (_, message), (kind, trailers) = web.frames(answer.content)
    assert pb.CompareResponse.FromString(message) == stub.Compare(compare(face))
    assert kind == web.TRAILERS
    assert b"grpc-status:0" in trailers


def test_grpc_web_text(url: str, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """So does its form in base64."""
    kind = "application/grpc-web-text"
    body = base64.b64encode(web.frame(pb.ListModelsRequest()))
    answer = in_web(url, "ListModels", body, content_type=kind, accept=kind)
    # What is sent in parts is padded in parts.
    parts = re.findall(rb"[^=]+=*", answer.content)
    (_, message), _ = web.frames(b"".join(map(base64.b64decode, parts)))
    assert pb.ListModelsResponse.FromString(message) == stub.ListModels(pb.ListModelsRequest())


def test_grpc_web_refusal(url: str) -> None:
    """A refusal has its status, with the details, in headers that other origins' pages can read."""
    body = web.frame(pb.GetModelInfoRequest(model="other"))
    headers = in_web(url, "GetModelInfo", body, origin=ALLOWED).headers
    assert headers["grpc-status"] == "5"
    assert b"MODEL_UNKNOWN" in base64.b64decode(headers["grpc-status-details-bin"] + "==")
    assert "grpc-status-details-bin" in headers["access-control-expose-headers"]


def test_grpc_web_stream(url: str, face: pb.Face) -> None:
    """A stream's items are sent at once, and answered each as it is done."""
    items = [pb.EmbedStreamRequest(id=name, face=face) for name in "abc"]
    answer = in_web(url, "EmbedStream", b"".join(map(web.frame, items)))
    *messages, (kind, _) = web.frames(answer.content)
    told = [pb.EmbedStreamResponse.FromString(message) for _, message in messages]
    assert sorted(each.id for each in told) == ["a", "b", "c"]
    assert kind == web.TRAILERS


@pytest.fixture(scope="module")
def page(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Envoy serves a folder beside a file that is not in it."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page").mkdir()
    (folder / "page" / "index.html").write_text("<!doctype html>")
    (folder / "page" / "page.js").write_text("1")
    (folder / "beside").write_text("secret")
    with proxying([running.port], folder, page=folder / "page") as made:
        yield made.address


def test_files(page: str) -> None:
    """The page's files are there with their types, and all that calls are, too."""
    start, script = (web.call(f"http://{page}/{path}") for path in ("", "page/page.js"))
    assert (start.content, start.headers["content-type"]) == (
        b"<!doctype html>",
        "text/html; charset=utf-8",
    )
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert web.call(f"http://{page}/v1/models").status_code == 200


@pytest.mark.parametrize("path", ["../beside", "..%2fbeside", "%2e%2e/beside", "/../beside", "x"])
def test_no_other_files(path: str, page: str) -> None:
    """Nothing beside the page can be had."""
    with contextlib.closing(http.client.HTTPConnection(page)) as connection:
        connection.request("GET", f"/page/{path}")
        response = connection.getresponse()
        assert response.status in (400, 404)
        assert b"secret" not in response.read()


def test_metrics_are_kept(url: str) -> None:
    """Metrics are not passed on, unless the operator says so."""
    assert web.call(f"{url}/metrics").status_code == 404


def test_on_loopback(store: Store) -> None:
    """One command runs server and Envoy, and says how to call them; Ctrl-C ends both."""
    port = free_port()
    command = [sys.executable, ROOT / "deploy" / "gateway" / "on_loopback.py", "--metrics"]
    command += ["--store", store.root, "--model", MOBILE, "--port", str(port)]
    command += ["--", "--detector", "none"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = "".join(iter(process.stdout.readline, "Ctrl-C ends both\n"))
        (curl,) = re.findall(r"curl .*", told)
        models = subprocess.run(curl.split(), check=True, capture_output=True).stdout
        metrics = web.call(f"http://127.0.0.1:{port}/metrics").content
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert MOBILE in models.decode()
    assert b"face_embedding_requests_total" in metrics
    for address in re.findall(r"127\.0\.0\.1:(\d+)", told):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(address))) != 0


COMMANDS = [
    (page, block)
    for page in ("README.md", "docs/gateway.md")
    for block in re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
]


@pytest.mark.parametrize(("shown_in", "command"), COMMANDS)
def test_commands(shown_in: str, command: str, proxy: Proxy, tmp_path: Path) -> None:
    """The commands that are shown are answered."""
    assert "curl" in command, shown_in
    (tmp_path / "photo-a.jpg").write_bytes(encode(person(), ".jpg"))
    shell = ["bash", "-euo", "pipefail", "-c", command.replace("127.0.0.1:50050", proxy.address)]
    done = subprocess.run(shell, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert '"code"' not in done.stdout
    assert done.stdout.startswith("{")
