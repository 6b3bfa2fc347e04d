"""What the server measures, as Prometheus reads it over HTTP."""

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.context import STAGES
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.server import Server
from face_embedding_server.telemetry.metrics import MetricsError
from support import MOBILE, RunningServer, encode, issue, person, running_server, small_settings

TIMEOUT_S = 60
ANYWHERE = "127.0.0.1:0"
SERVICE = "face_embedding.v1.FaceEmbeddingService"
PERSON = encode(person(), ".jpg")


@dataclass(frozen=True)
class Scrape:
    """What a server's metrics were at one time."""

    samples: list[tuple[str, dict[str, str], float]]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name that have these labels."""
        return sum(
            value
            for sample, has, value in self.samples
            if sample == f"face_embedding_{name}" and labels.items() <= has.items()
        )

    def labels(self, name: str) -> list[dict[str, str]]:
        return [has for sample, has, _ in self.samples if sample == f"face_embedding_{name}"]


def scrape(running: RunningServer) -> Scrape:
    url = f"http://127.0.0.1:{running.server.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # Our own.
        families = text_string_to_metric_families(response.read().decode())
        return Scrape([(s.name, s.labels, s.value) for each in families for s in each.samples])


def becomes(running: RunningServer, wanted: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until the metrics are as wanted."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if wanted(seen := scrape(running)):
            return seen
    pytest.fail("the metrics never became as wanted")


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[RunningServer]:
    with running_server(small_settings(store, metrics_address=ANYWHERE)) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> pb_grpc.FaceEmbeddingServiceStub:
    return pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture(scope="module")
def aligned(faces: list[Face]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())


@pytest.fixture(scope="module")
def found(stub: pb_grpc.FaceEmbeddingServiceStub) -> pb.Landmarks:
    """The landmarks of the face in the photograph."""
    return stub.Detect(pb.DetectRequest(encoded=PERSON), timeout=TIMEOUT_S).detections[0].landmarks


JUNK = pb.Face(encoded=b"junk", aligned=pb.Aligned())


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("Embed", pb.EmbedRequest(faces=[pb.Face(encoded=PERSON, detect={})]), "OK"),
        ("Embed", pb.EmbedRequest(), "INVALID_ARGUMENT"),
        ("Embed", pb.EmbedRequest(model="other"), "NOT_FOUND"),
        ("Compare", pb.CompareRequest(), "INVALID_ARGUMENT"),
        ("Detect", pb.DetectRequest(encoded=PERSON), "OK"),
        ("GetModelInfo", pb.GetModelInfoRequest(), "OK"),
    ],
    ids=["ok", "invalid", "not found", "compare", "detect", "info"],
)
def test_requests(
    method: str,
    request_: object,
    code: str,
    server: RunningServer,
    stub: pb_grpc.FaceEmbeddingServiceStub,
) -> None:
    """Each call is counted by its method and code, and its duration is taken."""
    before = scrape(server)
    call = getattr(stub, method).future(request_, timeout=TIMEOUT_S)
    assert call.code().name == code
    after = scrape(server)
    labels = {"method": f"{SERVICE}/{method}", "code": code}
    for name, wanted in (("requests_total", labels), ("requests_total", {})):
        assert after.value(name, **wanted) - before.value(name, **wanted) == 1
    durations = [
        each.value("request_duration_seconds_count", method=labels["method"])
        for each in (before, after)
    ]
    assert durations[1] - durations[0] == 1
    assert after.value("request_duration_seconds_sum", method=labels["method"]) > 0


def test_requests_of_the_other_service(server: RunningServer, channel: grpc.Channel) -> None:
    """Calls of the Open Inference Protocol are counted under its name."""
    oip_grpc.GRPCInferenceServiceStub(channel).ServerLive(oip.ServerLiveRequest())
    labels = {"method": "inference.GRPCInferenceService/ServerLive", "code": "OK"}
    assert scrape(server).value("requests_total", **labels) == 1


def test_unknown_method(server: RunningServer, channel: grpc.Channel) -> None:
    """Names that callers make up do not become labels: all are counted as unknown."""
    for path in (f"/{SERVICE}/Guess", "/other.Service/Embed"):
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(path)(b"", timeout=TIMEOUT_S)
    after = scrape(server)
    assert after.value("requests_total", method="unknown", code="UNIMPLEMENTED") == 2
    assert after.value("requests_total", method="unknown") == 2
    assert not any("Guess" in str(labels) for _, labels, _ in after.samples)


def test_health_is_not_counted(server: RunningServer, channel: grpc.Channel) -> None:
    """Probes do not count as requests."""
    before = scrape(server)
    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert scrape(server).value("requests_total") == before.value("requests_total")


def stages_of(server: RunningServer, call: Callable[[], object]) -> dict[str, float]:
    """How often each stage was passed in a call."""
    before = scrape(server)
    call()
    after = scrape(server)
    counts = {
        stage: after.value("stage_duration_seconds_count", stage=stage)
        - before.value("stage_duration_seconds_count", stage=stage)
        for stage in STAGES
    }
    return {stage: count for stage, count in counts.items() if count}


def test_stages_of_an_aligned_face(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """An aligned face is decoded and embedded by the thread that has the call."""
    stages = stages_of(server, lambda: stub.Embed(pb.EmbedRequest(faces=[aligned])))
    assert stages == {"decode": 1, "infer": 1, "respond": 1}


def test_stages_of_a_batch(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """The faces of a batch wait for threads, and each passes all stages."""
    stages = stages_of(server, lambda: stub.Embed(pb.EmbedRequest(faces=[aligned] * 3)))
    assert stages == {"queue": 3, "decode": 3, "infer": 3, "respond": 3}


def test_stages_of_landmarks(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, found: pb.Landmarks
) -> None:
    """A face with landmarks is aligned and not looked for."""
    face = pb.Face(encoded=PERSON, landmarks=found)
    stages = stages_of(server, lambda: stub.Embed(pb.EmbedRequest(faces=[face])))
    assert stages == {"queue": 1, "decode": 1, "align": 1, "infer": 1, "respond": 1}


def test_stages_of_a_photograph(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub
) -> None:
    """A face in a photograph passes every stage that there is."""
    face = pb.Face(encoded=PERSON, detect=pb.DetectFace())
    stages = stages_of(server, lambda: stub.Embed(pb.EmbedRequest(faces=[face])))
    assert stages == dict.fromkeys(STAGES, 1)


def test_stages_of_a_tensor(server: RunningServer, channel: grpc.Channel) -> None:
    """Pixels of the Open Inference Protocol need no decoding."""
    request = oip.ModelInferRequest(model_name=MOBILE)
    request.inputs.add(name="data", datatype="FP32", shape=[1, 3, 112, 112])
    request.raw_input_contents.append(np.full(3 * 112 * 112, 100, "<f4").tobytes())
    infer = oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer
    assert stages_of(server, lambda: infer(request)) == {"infer": 1, "respond": 1}


def refuse_call(channel: grpc.Channel, _: pb.Face) -> None:
    with pytest.raises(grpc.RpcError):
        pb_grpc.FaceEmbeddingServiceStub(channel).Embed(pb.EmbedRequest(faces=[JUNK]))


def refuse_face(channel: grpc.Channel, aligned: pb.Face) -> None:
    pb_grpc.FaceEmbeddingServiceStub(channel).Embed(pb.EmbedRequest(faces=[aligned, JUNK]))


def refuse_item(channel: grpc.Channel, aligned: pb.Face) -> None:
    items = [pb.EmbedStreamRequest(face=each) for each in (aligned, JUNK)]
    assert len(list(pb_grpc.FaceEmbeddingServiceStub(channel).EmbedStream(iter(items)))) == 2


@pytest.mark.parametrize("refuse", [refuse_call, refuse_face, refuse_item])
def test_rejected(
    refuse: Callable[[grpc.Channel, pb.Face], None],
    server: RunningServer,
    channel: grpc.Channel,
    aligned: pb.Face,
) -> None:
    """A refused call, face of a batch or item of a stream is counted once, by its reason."""
    before = scrape(server)
    refuse(channel, aligned)
    after = scrape(server)
    for labels in ({"reason": "IMAGE_UNREADABLE"}, {}):
        names = [each.value("rejected_total", **labels) for each in (before, after)]
        assert names[1] - names[0] == 1


def test_rejected_tensor(server: RunningServer, channel: grpc.Channel) -> None:
    """A refused request in a stream of the Open Inference Protocol is counted by its reason."""
    before = scrape(server).value("rejected_total", reason="TENSOR")
    requests = iter([oip.ModelInferRequest(model_name=MOBILE)])
    (answer,) = oip_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(requests)
    assert answer.error_message
    assert scrape(server).value("rejected_total", reason="TENSOR") - before == 1


def test_embedded(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """Embedded faces are counted by model, and the norms of their raw embeddings are taken."""
    before = scrape(server)
    response = stub.Embed(pb.EmbedRequest(faces=[aligned, JUNK, aligned]), timeout=TIMEOUT_S)
    after = scrape(server)
    count, sum_, faces = (
        after.value(name, model=MOBILE) - before.value(name, model=MOBILE)
        for name in ("embedding_norm_count", "embedding_norm_sum", "faces_embedded_total")
    )
    norms = [each.embedding.norm for each in response.results if each.HasField("embedding")]
    assert (count, faces) == (2, 2)
    assert sum_ == pytest.approx(sum(norms), rel=1e-5)
    assert after.value("embedding_norm_bucket", model=MOBILE, le="+Inf") >= 2


@pytest.mark.slow
@pytest.mark.parametrize("end", ["cancelled", "late", "disconnected", "too large"])
def test_in_flight(end: str, server: RunningServer, aligned: pb.Face) -> None:
    """A stream is in flight until it ends, in whatever way it ends, and is counted then."""
    before = scrape(server)
    go_on = threading.Event()

    def items() -> Iterator[pb.EmbedStreamRequest]:
        yield pb.EmbedStreamRequest(face=aligned)
        go_on.wait(TIMEOUT_S)
        if end == "too large":
            yield pb.EmbedStreamRequest(id="x" * (2 << 20))

    with grpc.insecure_channel(server.address) as channel:
        embed_stream = pb_grpc.FaceEmbeddingServiceStub(channel).EmbedStream
        stream = embed_stream(items(), timeout=2 if end == "late" else TIMEOUT_S)
        assert next(stream).result.HasField("embedding")
        becomes(server, lambda seen: seen.value("in_flight_requests", kind="stream") == 1)
        if end == "cancelled":
            stream.cancel()
        elif end == "disconnected":
            channel.close()
        elif end == "too large":
            go_on.set()
        after = becomes(server, lambda seen: seen.value("in_flight_requests", kind="stream") == 0)
        go_on.set()
    method = f"{SERVICE}/EmbedStream"
    counts = [each.value("requests_total", method=method) for each in (before, after)]
    assert counts[1] - counts[0] == 1


def test_cancelled(
    server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """A call whose caller left before the answer is counted as cancelled."""
    labels = {"method": f"{SERVICE}/EmbedStream", "code": "CANCELLED"}
    before = scrape(server).value("requests_total", **labels)
    slow = pb.Face(encoded=PERSON, detect=pb.DetectFace())
    items = [pb.EmbedStreamRequest(face=each) for each in (aligned, *[slow] * 16)]
    stream = stub.EmbedStream(iter(items))
    next(stream)
    stream.cancel()
    becomes(server, lambda seen: seen.value("requests_total", **labels) == before + 1)


def test_queue_depth(server: RunningServer, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Nobody waits for a thread when all calls are answered, or their callers have left."""
    face = pb.Face(encoded=PERSON, detect=pb.DetectFace())
    calls = [stub.Embed.future(pb.EmbedRequest(faces=[face] * 4)) for _ in range(3)]
    calls[-1].cancel()
    assert all(call.code() is grpc.StatusCode.OK for call in calls[:-1])
    becomes(server, lambda seen: seen.value("queue_depth") == 0)


def test_model_info(server: RunningServer, store: Store) -> None:
    """The served model is told, with its version, how it runs, and where its weights are from."""
    seen = scrape(server)
    assert seen.labels("model_info") == [
        {
            "model": MOBILE,
            "version": store.get(MOBILE).weights_sha256[:16],
            "backend": "openvino",
            "precision": "f32",
            "origin": "synthetic",
        }
    ]
    assert seen.value("model_info") == 1


def test_model_loads(server: RunningServer) -> None:
    """A model that was loaded is counted."""
    seen = scrape(server)
    assert seen.value("model_loads_total", model=MOBILE, outcome="loaded") == 1
    assert seen.value("model_loads_total") == 1


def test_process(server: RunningServer) -> None:
    """The process tells its memory, time and files, and the Python that runs it."""
    values = {name: value for name, _, value in scrape(server).samples}
    assert values["process_resident_memory_bytes"] > 1 << 20
    assert values["process_cpu_seconds_total"] > 0
    assert values["process_open_fds"] > 0
    assert values["python_info"] == 1


def test_two_servers(store: Store) -> None:
    """Two servers in one process do not count each other's calls."""
    settings = small_settings(store, metrics_address=ANYWHERE, detector="none")
    with running_server(settings) as one, running_server(settings) as other:
        for _ in range(3):
            with grpc.insecure_channel(one.address) as channel:
                info = pb_grpc.FaceEmbeddingServiceStub(channel).GetModelInfo
                info(pb.GetModelInfoRequest(), timeout=TIMEOUT_S)
        assert scrape(one).value("requests_total") == 3
        assert scrape(other).value("requests_total") == 0


def test_off_by_default(store: Store) -> None:
    """Nothing listens for scrapes unless it was asked for."""
    with running_server(small_settings(store), load=False) as running:
        assert running.server.metrics_port is None


def test_before_and_after(store: Store) -> None:
    """Metrics can be read before the model is loaded, and no more when the server has stopped."""
    with running_server(small_settings(store, metrics_address=ANYWHERE), load=False) as running:
        assert scrape(running).labels("model_info") == []
    with pytest.raises(OSError, match="refused"):
        scrape(running)


def test_port_taken(store: Store) -> None:
    """A port that is taken is an error that names the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MetricsError, match=f"metrics cannot be served on {address}: .*in use"):
            Server(small_settings(store, metrics_address=address))


def test_certificate_expiry(store: Store, tmp_path: Path) -> None:
    """With TLS, the time at which the certificate expires is told."""
    identity = issue(tmp_path, trustme.CA(), "localhost")
    settings = small_settings(store, metrics_address=ANYWHERE, **identity.settings())
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    with running_server(settings, load=False) as running:
        told = scrape(running).value("certificate_expiry_timestamp_seconds")
    assert told == certificate.not_valid_after_utc.timestamp()
