"""What the server writes to its log, and what it never writes."""

import base64
import contextlib
import hashlib
import io
import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import grpc
import numpy as np
import pytest

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.telemetry import logs
from support import MOBILE, encode, http2, needs_mxnet, person, running_server, small_settings

TIMEOUT_S = 60
SERVICE = "face_embedding.v1.FaceEmbeddingService"
TOKEN = "only-the-caller-and-its-digest-know-this"  # noqa: S105  # Made up.
WRONG_TOKEN = "nobody-knows-this-and-it-is-sent-all-the-same"  # noqa: S105  # Made up.
PHOTOGRAPH = encode(person(), ".jpg")


@dataclass(frozen=True)
class Run:
    """What a serving process logged, and the embeddings that it gave."""

    lines: list[str]
    embeddings: list[list[float]]

    def ended(self, request_id: str) -> dict[str, Any]:
        """The line of JSON on the end of a call."""
        (found,) = (
            fields
            for fields in map(json.loads, self.lines)
            if fields["event"] == "call ended" and fields["request_id"] == request_id
        )
        return dict(found)


def metadata(request_id: str, token: str = TOKEN) -> tuple[tuple[str, str], ...]:
    return ("x-request-id", request_id), ("authorization", f"Bearer {token}")


def make_calls(channel: grpc.Channel, face: Face) -> list[list[float]]:
    """Make a call of each kind, and return the embeddings."""
    stub = pb_grpc.FaceEmbeddingServiceStub(channel)
    aligned = pb.Face(encoded=encode(face), aligned=pb.Aligned())
    raw = pb.RawImage(data=face.tobytes(), width=112, height=112, channel_order="CHANNEL_ORDER_BGR")
    photograph = pb.Face(encoded=PHOTOGRAPH, detect=pb.DetectFace())
    junk = pb.Face(encoded=face.tobytes(), aligned=pb.Aligned())
    batch = pb.EmbedRequest(faces=[aligned, pb.Face(raw=raw, aligned=pb.Aligned()), photograph])
    response = stub.Embed(batch, metadata=metadata("good"))
    with pytest.raises(grpc.RpcError, match="faces"):
        stub.Embed(pb.EmbedRequest(faces=[junk]), metadata=metadata("bad"))
    with pytest.raises(grpc.RpcError, match="not known"):
        stub.Embed(pb.EmbedRequest(), metadata=metadata("unknown", WRONG_TOKEN))
    items = [pb.EmbedStreamRequest(face=each) for each in (aligned, junk, photograph)]
    list(stub.EmbedStream(iter(items), metadata=metadata("stream")))
    embeddings = [each.embedding for each in response.results]
    first, second = pb.CompareSide(face=aligned), pb.CompareSide(embedding=embeddings[0])
    stub.Compare(pb.CompareRequest(first=first, second=second), metadata=metadata("compare"))
    second.embedding.values.pop()
    request = pb.CompareRequest(first=first, second=second)
    with pytest.raises(grpc.RpcError, match="embedding"):
        stub.Compare(request, metadata=metadata("bad-compare"))
    infer = oip.ModelInferRequest(model_name=MOBILE)
    infer.inputs.add(name="face", datatype="UINT8", shape=[1, 112, 112, 3])
    infer.raw_input_contents.append(face.tobytes())
    oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer(infer, metadata=metadata("v2"))
    return [list(each.values) for each in embeddings]


def served(
    store: Store, folder: Path, use: Callable[[grpc.Channel], object], *flags: str
) -> list[str]:
    """Run a server of a caller with a token, use it, stop it, and return what it logged."""

    def use_address(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            use(channel)

    return served_at(store, folder, use_address, *flags)


def served_at(store: Store, folder: Path, use: Callable[[str], object], *flags: str) -> list[str]:
    """Do as `served` for what uses its address."""
    access, log = folder / "access.toml", folder / "log"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    access.write_text(
        f'[search]\npermissions = ["embed", "compare"]\ntokens = [{{ sha256 = "{digest}" }}]\n'
    )
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", "127.0.0.1:0", "--drain-s", "0"]
    command += ["--access", str(access), "--allow-plaintext-tokens", "true", *flags]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout
        address = process.stdout.readline().split(" on ")[1].split()[0]
        use(address)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    return log.read_text("utf-8").splitlines()


def run_all(store: Store, folder: Path, face: Face, *flags: str) -> Run:
    embeddings: list[list[float]] = []
    lines = served(store, folder, lambda c: embeddings.extend(make_calls(c, face)), *flags)
    assert embeddings
    return Run(lines, embeddings)


@pytest.fixture(scope="module")
def noise() -> Face:
    """An aligned face that is noise, so that any part of it is known again."""
    return np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory, noise: Face) -> Run:
    """Everything as JSON."""
    folder = tmp_path_factory.mktemp("json")
    return run_all(store, folder, noise, "--log-format", "json", "--log-level", "debug")


@pytest.fixture(scope="module")
def text_run(store: Store, tmp_path_factory: pytest.TempPathFactory, noise: Face) -> Run:
    """What a server logs by default."""
    return run_all(store, tmp_path_factory.mktemp("text"), noise)


def test_json(run: Run) -> None:
    """Every line is JSON with the time, the level and what happened."""
    for line in run.lines:
        fields = json.loads(line)
        assert fields["level"] in ("debug", "info", "warning", "error")
        assert fields["event"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", fields["timestamp"])


def test_life(run: Run) -> None:
    """The log tells which model is served, at which version, and why the server stops."""
    events = [json.loads(line)["event"] for line in run.lines]
    assert any(re.fullmatch(rf"{MOBILE} is served at version [0-9a-f]{{16}}", e) for e in events)
    assert "stopping on SIGTERM" in events


def test_good_call(run: Run) -> None:
    """A call that is answered is logged at debug, under its caller's id and name."""
    fields = run.ended("good")
    assert (fields["level"], fields["method"], fields["code"]) == (
        "debug",
        f"{SERVICE}/Embed",
        "OK",
    )
    assert fields["caller"] == "search"
    assert fields["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 < fields["ms"] < TIMEOUT_S * 1000


@pytest.mark.parametrize(
    ("request_id", "code", "caller"),
    [("bad", "INVALID_ARGUMENT", "search"), ("unknown", "UNAUTHENTICATED", "")],
)
def test_refused_call(request_id: str, code: str, caller: str, run: Run) -> None:
    """A call that is refused is logged at info, with its code."""
    fields = run.ended(request_id)
    assert (fields["level"], fields["code"], fields["caller"]) == ("info", code, caller)


@pytest.mark.parametrize(
    ("request_id", "method"),
    [
        ("stream", f"{SERVICE}/EmbedStream"),
        ("compare", f"{SERVICE}/Compare"),
        ("v2", "inference.GRPCInferenceService/ModelInfer"),
    ],
)
def test_methods(request_id: str, method: str, run: Run) -> None:
    """Calls of all methods are logged, and a stream is one call."""
    fields = run.ended(request_id)
    assert (fields["method"], fields["code"]) == (method, "OK")


def test_text(text_run: Run) -> None:
    """By default a line is text for people, without colours where no person watches."""
    (line,) = (line for line in text_run.lines if "request_id=bad " in f"{line} ")
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[info +\] call ended ", line)
    assert f"method={SERVICE}/Embed" in line
    assert "code=INVALID_ARGUMENT" in line
    assert "\x1b" not in "".join(text_run.lines)


def test_default_level(text_run: Run) -> None:
    """By default calls that are answered are not logged, and others are."""
    logged = set(re.findall(r"request_id=(\S+)", "\n".join(text_run.lines)))
    assert logged == {"bad", "unknown", "bad-compare"}


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_private(form: str, request: pytest.FixtureRequest, noise: Face) -> None:
    """No line has a token, or any part of an image or of an embedding."""
    run: Run = request.getfixturevalue({"json": "run", "text": "text_run"}[form])
    assert private_in("\n".join(run.lines), noise, run.embeddings) == []


def private_in(log: str, face: Face, embeddings: list[list[float]]) -> list[str]:
    """Whatever is private and in a log, in any of the forms in which it could be there."""
    wanted = [TOKEN, WRONG_TOKEN]
    for image in (encode(face), face.tobytes(), PHOTOGRAPH):
        # From the end too, as all files of a kind begin alike; apart by 3 for base64.
        for part in (image[99:117], image[3000:3018], image[-99:-81]):
            wanted += [part.hex(), base64.b64encode(part).decode()]
            wanted += [repr(part)[2:-1], ", ".join(map(str, part)), " ".join(map(str, part))]
    # Seven digits, as no time has so many.
    wanted += [re.sub(r"^-?(0\.\d{7}).*", r"\1", str(x)) for each in embeddings for x in each]
    return [each for each in wanted if each in log]


def test_broken_images(store: Store, noise: Face, tmp_path: Path) -> None:
    """What decoders say of a broken image is no line of its own, which any caller could cause."""
    jpeg = encode(noise, ".jpg")
    broken = [encode(noise)[:-500], jpeg[:2000] + bytes(range(256)) + jpeg[2256:]]

    def send(channel: grpc.Channel) -> None:
        faces = [pb.Face(encoded=each, aligned=pb.Aligned()) for each in broken]
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        stub.Embed(pb.EmbedRequest(faces=faces), metadata=metadata("broken"))

    lines = served(store, tmp_path, send, "--log-format", "json")
    assert [line for line in lines if not line.startswith("{")] == []


@contextlib.contextmanager
def logged_as(form: logs.Format, log: io.StringIO) -> Iterator[None]:
    """Log in this process as a serving one does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with contextlib.redirect_stderr(log):
        logs.configure(form, "debug")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def fail(channel: grpc.Channel, face: Face) -> None:
    """Have a server fail in a call, a batch and a stream."""
    stub = pb_grpc.FaceEmbeddingServiceStub(channel)
    sent = pb.Face(encoded=encode(face), aligned=pb.Aligned())
    with pytest.raises(grpc.RpcError):
        stub.Embed(pb.EmbedRequest(faces=[sent]), metadata=metadata("call"))
    stub.Embed(pb.EmbedRequest(faces=[sent] * 2), metadata=metadata("batch"))
    items = iter([pb.EmbedStreamRequest(face=sent)])
    list(stub.EmbedStream(items, metadata=metadata("stream")))


@pytest.fixture(scope="module")
def faults(store: Store, noise: Face) -> dict[logs.Format, str]:
    """The logs of a server of which the engine fails, as JSON and as text."""
    found = {}
    with (
        running_server(
            small_settings(store, backend="mxnet", detector="none"), load=False
        ) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        running.server.load().backend.close()  # A closed engine fails every inference.
        for form in get_args(logs.Format):
            log = io.StringIO()
            with logged_as(form, log):
                fail(channel, noise)
            found[form] = log.getvalue()
    return found


@needs_mxnet
def test_fault(faults: dict[logs.Format, str]) -> None:
    """A fault of the server is logged once for each face, with its traceback and the call's id."""
    lines = [json.loads(line) for line in faults["json"].splitlines()]
    failed = [fields for fields in lines if fields["event"] == "a request failed"]
    assert [each["request_id"] for each in failed] == ["call", "batch", "batch", "stream"]
    for fields in failed:
        assert fields["level"] == "error"
        assert "Traceback (most recent call last)" in fields["exception"]
        assert "embed_prepared" in fields["exception"]
    (ended,) = (each for each in lines if each.get("code") == "INTERNAL")
    assert (ended["event"], ended["level"]) == ("call ended", "error")


@needs_mxnet
def test_fault_as_text(faults: dict[logs.Format, str]) -> None:
    """As text, a fault has its traceback below its line, in no colours."""
    log = faults["text"]
    assert re.search(r"\[error +\] a request failed +.*request_id=call\n", log)
    assert "Traceback (most recent call last)" in log
    assert "embed_prepared" in log
    assert "\x1b" not in log


@needs_mxnet
@pytest.mark.parametrize("form", get_args(logs.Format))
def test_nothing_private_in_a_fault(
    form: logs.Format, faults: dict[logs.Format, str], noise: Face
) -> None:
    """The traceback of a fault has no values of variables, as they are images and tokens."""
    assert private_in(faults[form], noise, []) == []
    assert "array(" not in faults[form]
    assert "locals" not in faults[form]


@pytest.mark.slow
def test_undecodable_token(store: Store, tmp_path: Path) -> None:
    """A token that is no text, which no client of gRPC would send, is not logged either."""
    token = b"Bearer \xff" + WRONG_TOKEN.encode()

    def send(address: str) -> None:
        port = int(address.rpartition(":")[2])
        http2.trailers_of(port, f"/{SERVICE}/GetModelInfo", authorization=token)

    lines = served_at(store, tmp_path, send, "--log-format", "json", "--log-level", "debug")
    ended = [fields for fields in map(json.loads, lines) if fields["event"] == "call ended"]
    assert [fields["code"] for fields in ended] == ["UNAUTHENTICATED"]
    assert WRONG_TOKEN not in "".join(lines)


@pytest.mark.slow
def test_level(store: Store, tmp_path: Path, noise: Face) -> None:
    """At error, only faults are logged."""
    lines = served(store, tmp_path, lambda c: make_calls(c, noise), "--log-level", "error")
    assert lines == []
