"""The server as a process: its start, its errors, and its end."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    FaceEmbeddingClient,
    FaceEmbeddingError,
    RawFace,
    UnknownModelError,
)
from face_embedding_models import manifest
from face_embedding_models.mxnet import checkpoint
from face_embedding_models.store import Store
from face_embedding_server.cli.main import main
from face_embedding_server.faces.images import Image as Face
from support import MOBILE, RESNET34, SYNTHETIC, WITH_MXNET, add_stand_in, encode

pytestmark = pytest.mark.slow

TIMEOUT_S = 60


@contextmanager
def serving(store: Store, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `face-embedding-server serve` as a child; yield it and its address."""
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", "127.0.0.1:0", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            announcement = process.stdout.readline()
            address = re.search(r" on (127\.0\.0\.1:\d+) ", announcement)
            assert address, announcement
            yield process, address[1]
        finally:
            process.kill()


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command in this process, expect an error, and return its message."""
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_announcement(store: Store) -> None:
    """The server says what it serves, where, and that the weights are synthetic."""
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    assert re.fullmatch(
        rf"serving {MOBILE} on 127.0.0.1:\d+ with openvino at f32: SYNTHETIC weights: .*\n", line
    )


def test_drain(store: Store) -> None:
    """On SIGTERM health turns, new calls are UNAVAILABLE, accepted ones finish, and exit is 0."""
    face = pb.Face(encoded=encode(np.zeros((112, 112, 3), np.uint8), ".jpg"), aligned=pb.Aligned())
    with (
        serving(store, "--drain-s", "1", "--grace-s", "600") as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stub.Embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S)
        accepted = stub.Embed.future(pb.EmbedRequest(faces=[face] * 64), timeout=TIMEOUT_S)
        # Answered after the batch was accepted, as both came over one connection in this order, and
        # the batch is small enough to come at once.
        stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S)
        process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError, match="the server is stopping") as caught:
            stub.Embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(accepted.result().results) == 64
        # The watcher is still there and does not hold the server up.
        assert process.wait(TIMEOUT_S) == 0


def test_streams_end(store: Store, faces: list[Face]) -> None:
    """A stopping server answers what a stream has taken, and ends even an idle one."""
    face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
    over = threading.Event()

    def items() -> Iterator[pb.EmbedStreamRequest]:
        for number in range(20):
            yield pb.EmbedStreamRequest(id=str(number), face=face)
        over.wait()

    with (
        serving(store, "--drain-s", "0.2", "--grace-s", "600") as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        stream = pb_grpc.FaceEmbeddingServiceStub(channel).EmbedStream(items(), timeout=TIMEOUT_S)
        answered = {next(stream).id for _ in range(20)}
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError, match="the server is stopping") as caught:
            next(stream)
        over.set()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert answered == {str(number) for number in range(20)}
        assert process.wait(TIMEOUT_S) == 0


def test_no_call_is_lost(store: Store, faces: list[Face]) -> None:
    """Callers who retry elsewhere on UNAVAILABLE never see another error while it stops."""
    errors: list[FaceEmbeddingError] = []
    face = RawFace(faces[0], "BGR")
    with (
        serving(store, "--drain-s", "0.5") as (process, address),
        FaceEmbeddingClient(address) as c,
    ):
        c.embed(face)
        process.send_signal(signal.SIGTERM)
        while not errors:
            try:
                c.embed(face)
            except FaceEmbeddingError as error:
                errors.append(error)
        assert process.wait(TIMEOUT_S) == 0
    assert {error.code for error in errors} == {grpc.StatusCode.UNAVAILABLE}
    assert errors[0].reason == "STOPPING"


def test_signal_while_starting(store: Store) -> None:
    """A signal before the model is loaded ends the server in order, without a traceback."""
    command = [sys.executable, "-X", "importtime", "-m", "face_embedding_server", "serve"]
    command += ["--model", MOBILE, "--store", str(store.root), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.rstrip().endswith(
                "face_embedding_server.rpc.admission"
            ):  # While it is imported.
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(TIMEOUT_S) == 0
    assert "stopping on SIGTERM" in rest
    assert "Traceback" not in rest


def test_second_signal(store: Store) -> None:
    """A second signal ends the process at once."""
    with serving(store, "--drain-s", "600") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        assert any("stopping on SIGTERM" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "resnet"], "no model is called 'resnet'; known are adaface-ir101"),
        (["--model", "face-recognition-resnet50-arcface"], "is not in the store .*models import"),
        (["--model", MOBILE, "--backend", "onnx"], "no backend is called 'onnx'; known are mxnet"),
        (["--model", MOBILE, "--precision", "int4"], "openvino has no precision 'int4'; known"),
        (
            ["--model", MOBILE, "--backend", "mxnet", "--precision", "bf16"],
            "mxnet runs at f32 only",
        ),
        (["--model", MOBILE, "--drain-s", "x"], "--drain-s: 'drain_s' cannot be 'x'"),
    ],
    ids=["unknown model", "not stored", "backend", "precision", "mxnet precision", "setting"],
)
def test_cannot_start(
    flags: list[str], message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """What keeps the server from starting is said, with what to do, and the status is 2."""
    arguments = ["serve", "--store", str(store.root), "--address", "127.0.0.1:0", *flags]
    assert re.search(message, failure(capsys, *arguments))


def test_port_taken(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken is an error, not shared."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["serve", "--model", MOBILE, "--store", str(store.root), "--address", address]
        assert f"cannot listen on {address}" in failure(capsys, *arguments)


@pytest.mark.parametrize("backend", ["openvino", WITH_MXNET])
def test_corrupt_files(
    backend: str, tmp_path: Path, faces: list[Face], capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed model file is refused at start by either backend; the right one serves again."""
    store = Store(tmp_path)
    add_stand_in(store, MOBILE)
    stored = store.get(MOBILE)
    folder = {"openvino": stored.ir_folder("f32"), "mxnet": stored.checkpoint_folder}[backend]
    file = folder / {"openvino": "model.bin", "mxnet": "model-0000.params"}[backend]
    right = file.read_bytes()
    file.write_bytes(right[:5000] + b"\x00" * 8 + right[5008:])
    arguments = ["serve", "--model", MOBILE, "--store", str(tmp_path), "--backend", backend]
    arguments += ["--address", "127.0.0.1:0"]
    assert f"{file} was changed since it was written" in failure(capsys, *arguments)
    file.write_bytes(right)
    with serving(store, "--backend", backend) as (_, address), FaceEmbeddingClient(address) as c:
        assert c.embed(RawFace(faces[0], "BGR")).norm > 0


def test_not_converted(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights without IR cannot be served by OpenVINO; the error says how to make it."""
    symbol_bytes, params_bytes = store.get(MOBILE).read_checkpoint_files()
    other = Store(tmp_path)
    known = store.get(MOBILE).manifest
    files = checkpoint.files(symbol_bytes, params_bytes)
    other.use(other.add(known, files, SYNTHETIC))
    arguments = ["serve", "--model", MOBILE, "--store", str(tmp_path), "--address", "127.0.0.1:0"]
    assert f"models convert {MOBILE}" in failure(capsys, *arguments)


def _reimported(store: Store, tmp_path: Path, name: str, change: tuple[str, str]) -> Path:
    """Import the stand-in of `store` under a name, with one text of its symbol changed."""
    symbol_bytes, params_bytes = store.get(MOBILE).read_checkpoint_files()
    changed = symbol_bytes.decode().replace(*change, 1).encode()
    other = Store(tmp_path)
    files = checkpoint.files(changed, params_bytes)
    other.use(other.add(manifest.load(name), files, SYNTHETIC))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MOBILE, ('"num_group": "1"', '"num_group": "0"'), "num_group is 0"),
        (MOBILE, ('"op": "elemwise_add"', '"op": "Mystery"'), "operator Mystery '_plus0'"),
        (RESNET34, ("", ""), r"has the shape \[\?,128\]; the manifest says \[\?,512\]"),
    ],
    ids=["no groups", "unknown operator", "another model"],
)
def test_hostile_network(
    name: str,
    change: tuple[str, str],
    message: str,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A network that would crash MXNet, or is another model, is refused before MXNet sees it."""
    folder = _reimported(store, tmp_path, name, change)
    arguments = ["serve", "--model", name, "--store", str(folder), "--backend", "mxnet"]
    assert re.search(message, failure(capsys, *arguments, "--address", "127.0.0.1:0"))


def test_damage_while_serving(tmp_path: Path, faces: list[Face]) -> None:
    """Truncating the files of a running server does not touch it."""
    store = Store(tmp_path)
    add_stand_in(store, MOBILE)
    with serving(store) as (process, address), FaceEmbeddingClient(address) as c:
        for file in store.get(MOBILE).folder.rglob("model*"):
            file.write_bytes(b"")
        assert c.embed(RawFace(faces[0], "BGR")).norm > 0
        assert process.poll() is None


@pytest.mark.parametrize("how", ["SIGHUP", "watching"])
def test_model_added_while_serving(
    how: str, store: Store, resnet34_store: Store, tmp_path: Path
) -> None:
    """A process looks for new models in its store on SIGHUP, or by itself if it is told to."""
    own = Store(shutil.copytree(store.root, tmp_path / "store"))
    flags = ["--model", f"{MOBILE},*"] + (["--watch-s", "0.2"] if how == "watching" else [])
    with (
        serving(own, *flags) as (process, address),
        FaceEmbeddingClient(address, model=RESNET34) as client,
    ):
        with pytest.raises(UnknownModelError):
            client.model_info()
        shutil.copytree(resnet34_store.root / RESNET34, own.root / RESNET34)
        if how == "SIGHUP":
            process.send_signal(signal.SIGHUP)
        assert process.stderr
        assert any(f"{RESNET34} is served at version" in line for line in process.stderr)
        assert client.model_info().name == RESNET34
