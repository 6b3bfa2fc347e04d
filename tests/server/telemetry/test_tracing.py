"""Traces: the span of a call, those of its stages, and where they go."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, RawFace
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.telemetry import tracing
from face_embedding_server.telemetry.tracing import CallTracer, TracingError
from support import MOBILE, RunningServer, encode, person, running_server, small_settings

TIMEOUT_S = 60
SERVICE = "face_embedding.v1.FaceEmbeddingService"
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PHOTOGRAPH = pb.Face(
    encoded=encode(person(), ".jpg"),
    detect=pb.DetectFace(),
)


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def tracer_into(exporter: InMemorySpanExporter) -> CallTracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return CallTracer(provider)


@pytest.fixture(scope="module")
def server(store: Store, exporter: InMemorySpanExporter) -> Iterator[RunningServer]:
    with running_server(small_settings(store), tracer=tracer_into(exporter)) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel, exporter: InMemorySpanExporter) -> pb_grpc.FaceEmbeddingServiceStub:
    """A stub for the calls of one test, of which no span is there yet."""
    exporter.clear()
    return pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture
def aligned(faces: list[Face]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())


def spans_of_call(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The span of the only call, and those of its stages."""
    finished = exporter.get_finished_spans()
    (call,) = (span for span in finished if span.kind is SpanKind.SERVER)
    return call, [span for span in finished if span is not call]


def are_children(stages: list[ReadableSpan], call: ReadableSpan) -> bool:
    return all(
        span.parent
        and span.parent.span_id == call.context.span_id
        and span.context.trace_id == call.context.trace_id
        for span in stages
    )


def test_call(
    exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """A call is one span of a server, named by its method, with what was called and its id."""
    metadata = (("x-request-id", "mine"),)
    stub.Embed(pb.EmbedRequest(faces=[aligned]), timeout=TIMEOUT_S, metadata=metadata)
    call, _ = spans_of_call(exporter)
    assert call.name == f"{SERVICE}/Embed"
    assert call.parent is None
    assert call.status.status_code is not StatusCode.ERROR
    assert dict(call.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "Embed",
        "request.id": "mine",
        "rpc.grpc.status_code": 0,
    }


@pytest.mark.parametrize(
    ("faces_", "stages"),
    [
        (1, ["decode", "infer", "respond"]),
        (3, ["decode"] * 3 + ["infer"] * 3 + ["queue"] * 3 + ["respond"] * 3),
    ],
    ids=["face", "batch"],
)
def test_stages(
    faces_: int,
    stages: list[str],
    exporter: InMemorySpanExporter,
    stub: pb_grpc.FaceEmbeddingServiceStub,
    aligned: pb.Face,
) -> None:
    """The stages of each face are children of the call, in whatever thread they are."""
    stub.Embed(pb.EmbedRequest(faces=[aligned] * faces_), timeout=TIMEOUT_S)
    call, children = spans_of_call(exporter)
    assert sorted(span.name for span in children) == stages
    assert are_children(children, call)


def test_photograph(exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """To find and to align a face are stages of the call too, in their order."""
    stub.Embed(pb.EmbedRequest(faces=[PHOTOGRAPH]), timeout=TIMEOUT_S)
    call, children = spans_of_call(exporter)
    stages = ["queue", "decode", "detect", "align", "infer", "respond"]
    assert [span.name for span in children] == stages
    assert are_children(children, call)


def test_detect(exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """To find faces has its stages."""
    request = pb.DetectRequest(encoded=PHOTOGRAPH.encoded)
    stub.Detect(request, timeout=TIMEOUT_S)
    _, children = spans_of_call(exporter)
    assert [span.name for span in children] == ["queue", "decode", "detect", "respond"]


def test_compare(
    exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """To compare two faces has the stages of both, and one answer."""
    side = pb.CompareSide(face=aligned)
    stub.Compare(pb.CompareRequest(first=side, second=side), timeout=TIMEOUT_S)
    _, children = spans_of_call(exporter)
    assert [span.name for span in children] == ["decode", "infer", "decode", "infer", "respond"]


def test_stream(
    exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """A stream is one span, and the stages of all its items are its children."""
    items = [pb.EmbedStreamRequest(face=each) for each in (aligned, PHOTOGRAPH, aligned)]
    assert len(list(stub.EmbedStream(iter(items), timeout=TIMEOUT_S))) == 3
    call, children = spans_of_call(exporter)
    assert call.name == f"{SERVICE}/EmbedStream"
    assert [span.name for span in children].count("infer") == 3
    assert are_children(children, call)


def test_other_service(
    exporter: InMemorySpanExporter, channel: grpc.Channel, faces: list[Face]
) -> None:
    """Calls of the Open Inference Protocol are traced in the same way."""
    exporter.clear()
    request = oip.ModelInferRequest(model_name=MOBILE)
    request.inputs.add(name="face", datatype="UINT8", shape=[1, 112, 112, 3])
    request.raw_input_contents.append(faces[0].tobytes())
    oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=TIMEOUT_S)
    call, children = spans_of_call(exporter)
    assert call.name == "inference.GRPCInferenceService/ModelInfer"
    assert [span.name for span in children] == ["decode", "infer", "respond"]
    assert are_children(children, call)


def test_parent(exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A call belongs to the trace of its caller, by the W3C's traceparent."""
    metadata = (("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"),)
    stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S, metadata=metadata)
    call, _ = spans_of_call(exporter)
    assert call.parent
    assert call.context.trace_id == int(TRACE_ID, 16)
    assert call.parent.span_id == int(PARENT_ID, 16)


def test_bad_parent(exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A traceparent that is none is left aside."""
    metadata = (("traceparent", "00-nonsense"),)
    stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S, metadata=metadata)
    call, _ = spans_of_call(exporter)
    assert call.parent is None


def test_traces_do_not_mix(
    exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face
) -> None:
    """Stages of calls at the same time are children of the right ones."""
    request = pb.EmbedRequest(faces=[aligned, aligned])
    for call in [stub.Embed.future(request, timeout=TIMEOUT_S) for _ in range(8)]:
        call.result()
    finished = exporter.get_finished_spans()
    calls = [span for span in finished if span.kind is SpanKind.SERVER]
    for call in calls:
        own = [span for span in finished if span.context.trace_id == call.context.trace_id]
        names = sorted(span.name for span in own if span is not call)
        assert names == sorted(2 * ["decode", "infer", "queue", "respond"])


def test_refusal(exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A call that is refused has its code, and is no error of the server."""
    with pytest.raises(grpc.RpcError):
        stub.Embed(pb.EmbedRequest(model="other"), timeout=TIMEOUT_S)
    call, _ = spans_of_call(exporter)
    assert call.status.status_code is StatusCode.UNSET
    assert (call.attributes or {})["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]


def test_error(store: Store) -> None:
    """A call that the server cannot answer, as it is being loaded, is an error of the server."""
    exporter = InMemorySpanExporter()
    settings = small_settings(store, detector="none")
    with (
        running_server(settings, load=False, tracer=tracer_into(exporter)) as running,
        grpc.insecure_channel(running.address) as channel,
        pytest.raises(grpc.RpcError),
    ):
        pb_grpc.FaceEmbeddingServiceStub(channel).GetModelInfo(pb.GetModelInfoRequest())
    (call,) = exporter.get_finished_spans()
    assert call.status.status_code is StatusCode.ERROR
    assert (call.attributes or {})["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]


def test_refusal_is_no_exception(
    exporter: InMemorySpanExporter, stub: pb_grpc.FaceEmbeddingServiceStub
) -> None:
    """How gRPC ends a call inside of the server is not told as an exception of the call."""
    with pytest.raises(grpc.RpcError):
        stub.Embed(pb.EmbedRequest(), timeout=TIMEOUT_S)
    call, _ = spans_of_call(exporter)
    assert call.events == ()
    assert call.status.description in (None, "faces: the request holds no face")


def test_cancelled(store: Store, aligned: pb.Face) -> None:
    """The span of a stream that its caller left before all answers ends, as cancelled."""
    exporter = InMemorySpanExporter()
    items = [pb.EmbedStreamRequest(face=each) for each in (aligned, *[PHOTOGRAPH] * 16)]
    with (
        running_server(small_settings(store), tracer=tracer_into(exporter)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stream = pb_grpc.FaceEmbeddingServiceStub(channel).EmbedStream(iter(items))
        next(stream)
        stream.cancel()
        deadline = time.monotonic() + TIMEOUT_S
        while not any(span.kind is SpanKind.SERVER for span in exporter.get_finished_spans()):
            assert time.monotonic() < deadline
    (call,) = (s for s in exporter.get_finished_spans() if s.kind is SpanKind.SERVER)
    assert (call.attributes or {})["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]


def test_off(store: Store, exporter: InMemorySpanExporter, faces: list[Face]) -> None:
    """A server without a tracer makes no spans, though another one in the process does."""
    exporter.clear()
    with (
        running_server(small_settings(store, detector="none")) as running,
        FaceEmbeddingClient(running.address) as client,
    ):
        client.embed(RawFace(faces[0], "BGR"))
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    "module", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"]
)
def test_missing(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenTelemetry, the error tells what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TracingError, match=r"pip install 'face-embedding\[server,otel\]'"):
        tracing.exporting_provider()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, as the collectors of traces do."""

    def __init__(self) -> None:
        self.received: SimpleQueue[trace_service_pb2.ExportTraceServiceRequest] = SimpleQueue()

    def Export(  # noqa: N802  # The method's name in the contract.
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.received.put(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that OpenTelemetry's variables name."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    server.start()
    yield collector
    server.stop(None).wait()


def test_export(collector: Collector, store: Store) -> None:
    """The spans of a server's calls arrive at the collector, under the service's name."""
    provider = tracing.exporting_provider()
    settings = small_settings(store, detector="none")
    with (
        running_server(settings, tracer=CallTracer(provider)) as running,
        FaceEmbeddingClient(running.address) as client,
    ):
        client.model_info()
    provider.shutdown()  # type: ignore[attr-defined]  # The SDK's.
    (resource,) = collector.received.get(timeout=TIMEOUT_S).resource_spans
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    service = [
        a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
    ]
    assert names == [f"{SERVICE}/GetModelInfo"]
    assert service == ["face-embedding"]


@pytest.mark.slow
def test_process(collector: Collector, store: Store) -> None:
    """A serving process sends what it still has when it is told to stop."""
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MOBILE]
    command += ["--store", str(store.root), "--address", "127.0.0.1:0", "--detector", "none"]
    command += ["--tracing", "true", "--drain-s", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().split(" on ")[1].split()[0]
        with FaceEmbeddingClient(address) as client:
            client.model_info()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    (resource,) = collector.received.get(timeout=TIMEOUT_S).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert span.name == f"{SERVICE}/GetModelInfo"


def test_service_name(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator may give the service another name, as for every other program."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "faces-of-the-north")
    provider = tracing.exporting_provider()
    provider.get_tracer("test").start_span("one").end()
    provider.shutdown()  # type: ignore[attr-defined]  # The SDK's.
    (resource,) = collector.received.get(timeout=TIMEOUT_S).resource_spans
    told = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert told["service.name"] == "faces-of-the-north"
