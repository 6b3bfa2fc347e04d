"""What is refused through Envoy: strangers, overload, stopping, and JSON without an end."""

import contextlib
import hashlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from gateway_calls import before, call, compare, embed, sent
from proxies import proxying

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import Calibration, OperatingPoint
from support import MOBILE, wait_until
from support.processes import FAULTY, Running, memory_kb, serving

MIB = 1 << 20
HEAP_MB = 100
POINT = OperatingPoint("fmr-1e-3", 0.5, 0.4, 0.6, 0.001, 0.002, 0.03, 0.04)


@pytest.fixture(scope="module")
def guarded(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Envoy before a server with an operating point, that knows one caller for each permission."""
    folder = tmp_path_factory.mktemp("guarded")
    access, calibration = folder / "access.toml", folder / "calibration.json"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("embed", "decide")}
    access.write_text(
        "".join(
            f'[{name}]\npermissions = ["{name}"]\ntokens = [{{ sha256 = "{digest}" }}]\n'
            for name, digest in digests.items()
        )
    )
    operating_points.write(
        Calibration(store.get(MOBILE).embedding_space, 10, 1000, (POINT,)), calibration
    )
    flags = ["--access", str(access), "--allow-plaintext-tokens", "true", "--detector", "none"]
    flags += ["--calibration", str(calibration)]
    with serving(store.root, *flags) as server, before(server, folder) as url:
        yield url


def test_access(guarded: str, face: pb.Face) -> None:
    """A token goes on to the server: without one it is 401, without the permission 403."""
    embedding = f"{guarded}/v1/embeddings", sent(embed(face))
    found = [
        call(*embedding),
        call(*embedding, authorization="Bearer other"),
        call(*embedding, authorization="Bearer decide"),
        call(*embedding, authorization="Bearer embed"),
    ]
    assert [each.status_code for each in found] == [401, 401, 403, 200]
    reasons = [each.json()["details"][0]["reason"] for each in found[:3]]
    assert reasons == ["CREDENTIALS_MISSING", "CREDENTIALS_UNKNOWN", "PERMISSION"]


def test_no_similarity(guarded: str, face: pb.Face) -> None:
    """A similarity that a caller may not know is NaN, which JSON has as a text."""
    request = sent(compare(face, operating_point=POINT.name))
    answer = call(f"{guarded}/v1/compare", request, authorization="Bearer decide").json()
    assert (answer["decision"], answer["cosine_similarity"]) == ("DECISION_MATCH", "NaN")


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
        answer = call(f"{url}/v1/embeddings", sent(embed(face)))
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
        wait_until(lambda: call(f"{url}/v1/models").status_code == 503)
        stopping = call(f"{url}/v1/models").json()
        server.process.kill()
        server.process.wait()
        wait_until(lambda: "no healthy" in call(f"{url}/v1/models").json()["message"])
        gone = call(f"{url}/v1/models")
        with (
            grpc.insecure_channel(url.removeprefix("http://")) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            pb_grpc.FaceEmbeddingServiceStub(channel).ListModels(pb.ListModelsRequest())
    assert (stopping["code"], gone.status_code, gone.json()["code"]) == (14, 503, 14)
    assert caught.value.details() == "no healthy upstream"


def begun(url: str, body: bytes) -> socket.socket:
    """Begin a request in JSON, of which one byte never comes."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=0.3)
    lines = "POST /v1/detect HTTP/1.1", "host: x", f"content-length: {len(body) + 1}", "", ""
    # It may be ended before, or not be read.
    with contextlib.suppress(OSError):
        connection.sendall("\r\n".join(lines).encode() + body)
    return connection


def test_json_that_stops_to_come(running: Running, tmp_path: Path) -> None:
    """A request in JSON whose rest does not come is ended: 408."""
    last = [{}] * 4 + [{"route": {"idle_timeout": "0.1s"}}]
    manager = {"typed_config": {"route_config": {"virtual_hosts": [{"routes": last}]}}}
    change = {"static_resources": {"listeners": [{"filter_chains": [{"filters": [manager]}]}]}}
    with before(running, tmp_path, change) as url, begun(url, b"{") as connection:
        connection.settimeout(None)
        answer = b"".join(iter(lambda: connection.recv(MIB), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":4' in answer


def test_memory(running: Running, tmp_path: Path, tell: Callable[[str], None]) -> None:
    """Requests in JSON that stay unfinished have only so much memory, and others go on after."""
    limit = {"typed_config": {"max_heap_size_bytes": HEAP_MB * MIB}}
    change = {"overload_manager": {"resource_monitors": [limit]}}
    with (
        proxying([running.port], tmp_path, change) as proxy,
        contextlib.ExitStack() as unfinished,
    ):
        url = f"http://{proxy.address}"
        for _ in range(30):
            unfinished.enter_context(begun(url, b" " * 20 * MIB))
        peak_mb = memory_kb(proxy.pid, "VmHWM") / 1024
        unfinished.close()
        wait_until(lambda: call(f"{url}/v1/models").status_code == 200)
    tell(f"30 unfinished requests of 20 MiB: Envoy had {peak_mb:.0f} MB of {HEAP_MB}")
    # It looks ten times a second, in which more can come.
    assert peak_mb < 4 * HEAP_MB
