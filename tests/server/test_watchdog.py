"""Engines that fail or hang, and logs that nobody reads: what the server does about them."""

import fcntl
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.watchdog import MOST_FAILURES
from support import MOBILE, encode, wait_until

pytestmark = pytest.mark.slow

TIMEOUT_S = 60
PROGRAM = Path(__file__).parents[1] / "support" / "faulty_server.py"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# The least that a pipe of Linux holds.
PIPE_BYTES = 4096


@dataclass
class Faulty:
    """A server in a process of its own, whose engine does what is asked of it."""

    process: subprocess.Popen[str]
    mode: Path
    channel: grpc.Channel
    request: pb.EmbedRequest

    def becomes(self, mode: str) -> None:
        """Have the engine behave so from now on."""
        self.mode.write_text(mode)

    def embed(self, timeout_s: float = TIMEOUT_S) -> grpc.StatusCode:
        """Embed a face; return how that ended."""
        stub = pb_grpc.FaceEmbeddingServiceStub(self.channel)
        code: grpc.StatusCode = stub.Embed.future(self.request, timeout=timeout_s).code()
        return code

    def health(self) -> int:
        """Return what health says, which it always does."""
        check = health_pb2_grpc.HealthStub(self.channel).Check
        return int(check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status)

    def ready_in_v2(self) -> tuple[bool, bool]:
        """Return whether the server and its model are ready, as V2 tells."""
        stub = oip_grpc.GRPCInferenceServiceStub(self.channel)
        return (
            stub.ServerReady(oip.ServerReadyRequest(), timeout=TIMEOUT_S).ready,
            stub.ModelReady(oip.ModelReadyRequest(name=MOBILE), timeout=TIMEOUT_S).ready,
        )


@pytest.fixture
def request_of_a_face(faces: list[Face]) -> pb.EmbedRequest:
    return pb.EmbedRequest(faces=[pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())])


@contextmanager
def faulty(
    store: Store,
    request: pb.EmbedRequest,
    folder: Path,
    *flags: str,
    log: int | IO[str] = subprocess.DEVNULL,
) -> Iterator[Faulty]:
    mode = folder / "mode"
    command = [sys.executable, str(PROGRAM), str(mode), "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", "127.0.0.1:0", "--detector", "none"]
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        try:
            assert process.stdout
            address = re.search(r" on (127\.0\.0\.1:\d+) ", process.stdout.readline())
            assert address
            with grpc.insecure_channel(address[1]) as channel:
                yield Faulty(process, mode, channel, request)
        finally:
            process.kill()


@pytest.mark.parametrize("mode", ["fail", "nan"])
def test_failing(
    mode: str, store: Store, request_of_a_face: pb.EmbedRequest, tmp_path: Path
) -> None:
    """An engine that fails on every face is told by health, and also that it is well again."""
    with faulty(store, request_of_a_face, tmp_path) as server:
        server.becomes(mode)
        codes = {server.embed() for _ in range(MOST_FAILURES)}
        assert codes == {grpc.StatusCode.INTERNAL}
        wait_until(lambda: server.health() == NOT_SERVING)
        assert server.ready_in_v2() == (False, False)
        server.becomes("")
        # Nobody sends it a face: it tries one of its own.
        wait_until(lambda: server.health() == SERVING)
        assert server.ready_in_v2() == (True, True)
        assert server.embed() is grpc.StatusCode.OK


def test_hanging(store: Store, request_of_a_face: pb.EmbedRequest, tmp_path: Path) -> None:
    """A server whose engine hangs ends with an error that says so."""
    with (
        (tmp_path / "log").open("w") as log,
        faulty(store, request_of_a_face, tmp_path, "--stall-s", "1", log=log) as server,
    ):
        assert server.embed() is grpc.StatusCode.OK
        server.becomes("hang")
        assert server.embed(0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.process.wait(TIMEOUT_S) != 0
    assert "no face came out of openvino for 1 s" in (tmp_path / "log").read_text()


def test_detector_hanging(store: Store, faces: list[Face], tmp_path: Path) -> None:
    """So does one whose detector hangs."""
    photograph = pb.Face(encoded=encode(faces[0]), detect=pb.DetectFace())
    flags = ("--stall-s", "1", "--detector", "mtcnn")
    with (
        (tmp_path / "log").open("w") as log,
        faulty(store, pb.EmbedRequest(faces=[photograph]), tmp_path, *flags, log=log) as server,
    ):
        assert server.embed() is grpc.StatusCode.INVALID_ARGUMENT
        server.becomes("detector hangs")
        assert server.embed(0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.process.wait(TIMEOUT_S) != 0
    assert "no photograph came out of the detector faulty for 1 s" in (tmp_path / "log").read_text()


def test_stop_while_hanging(
    store: Store, request_of_a_face: pb.EmbedRequest, tmp_path: Path
) -> None:
    """SIGTERM ends a server whose engine hangs within its grace and a second."""
    with faulty(store, request_of_a_face, tmp_path, "--grace-s", "2") as server:
        assert server.embed() is grpc.StatusCode.OK
        server.becomes("hang")
        assert server.embed(0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
        server.process.send_signal(signal.SIGTERM)
        since = time.monotonic()
        server.process.wait(TIMEOUT_S)
        assert 1.5 < time.monotonic() - since < 3.5


def test_full_log(store: Store, request_of_a_face: pb.EmbedRequest, tmp_path: Path) -> None:
    """A log that nobody reads holds up no call, and no stop."""
    flags = ("--log-level", "debug", "--log-format", "json")
    with faulty(store, request_of_a_face, tmp_path, *flags, log=subprocess.PIPE) as server:
        assert server.process.stderr
        fcntl.fcntl(server.process.stderr, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        # Each call is a line of some hundred bytes.
        assert {server.embed() for _ in range(200)} == {grpc.StatusCode.OK}
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT_S) == 0
