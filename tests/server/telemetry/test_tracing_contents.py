"""What spans tell, which is sent to others: no image, no embedding, no credentials."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.security import access
from face_embedding_server.telemetry.tracing import CallTracer
from support import RunningServer, encode, running_server, small_settings

TIMEOUT_S = 60
PRIVATE_NAME = "a-name-that-only-the-caller-knows"
ATTRIBUTES = {"rpc.system", "rpc.service", "rpc.method", "request.id", "rpc.grpc.status_code"}


@dataclass(frozen=True)
class Traced:
    """A server that traces, a caller's token, and the spans so far."""

    running: RunningServer
    token: str
    exporter: InMemorySpanExporter

    def told(self) -> str:
        """All that the spans tell, as text."""
        return "".join(span.to_json() for span in self.exporter.get_finished_spans())


@pytest.fixture(scope="module")
def traced(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    token, digest = access.new_token()
    file: Path = tmp_path_factory.mktemp("access") / "access.toml"
    file.write_text(
        f'[somebody]\npermissions = ["embed", "compare"]\ntokens = [{{ sha256 = "{digest}" }}]\n'
    )
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = small_settings(store, access=file, allow_plaintext_tokens=True, detector="none")
    with running_server(settings, tracer=CallTracer(provider)) as running:
        yield Traced(running, token, exporter)


@pytest.fixture(scope="module")
def spans(traced: Traced, faces: list[Face]) -> str:
    """What the spans tell of good and bad calls, with good and bad credentials."""
    face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
    stub_of = pb_grpc.FaceEmbeddingServiceStub
    with grpc.insecure_channel(traced.running.address) as channel:
        stub = stub_of(channel)
        known = [("authorization", f"Bearer {traced.token}"), ("x-password", "open sesame")]
        answer = stub.Embed(pb.EmbedRequest(faces=[face]), metadata=known, timeout=TIMEOUT_S)
        side = pb.CompareSide(embedding=answer.results[0].embedding)
        compare = pb.CompareRequest(first=side, second=side)
        stub.Compare(compare, metadata=known, timeout=TIMEOUT_S)
        for request, metadata in (
            (pb.EmbedRequest(faces=[face]), [("authorization", f"Bearer {traced.token}x")]),
            (pb.EmbedRequest(model=PRIVATE_NAME, faces=[face]), known),
            (pb.EmbedRequest(faces=[pb.Face(encoded=b"\x89PNG junk", aligned={})]), known),
        ):
            call = stub.Embed.future(request, metadata=metadata, timeout=TIMEOUT_S)
            assert call.code() is not grpc.StatusCode.OK
    assert len(traced.exporter.get_finished_spans()) > 5
    values = [f"{value:.5}" for value in answer.results[0].embedding.values[:8]]
    assert not any(value.rstrip("0") in traced.told() for value in values)
    return traced.told()


def test_credentials(traced: Traced, spans: str) -> None:
    """Neither a token, nor its digest, nor any other metadata of a call is told."""
    for secret in (traced.token, access._digest(traced.token), "Bearer", "open sesame"):
        assert secret not in spans


def test_requests(spans: str) -> None:
    """Nothing that a message holds is told, not even in the status of a refused call."""
    for held in (PRIVATE_NAME, "PNG", "junk"):
        assert held not in spans


def test_attributes(traced: Traced, spans: str) -> None:
    """Spans have the attributes that are meant, all of them short, and no events."""
    assert spans
    for span in traced.exporter.get_finished_spans():
        attributes = dict(span.attributes or {})
        assert set(attributes) <= ATTRIBUTES
        assert len(json.dumps(attributes)) < 400
        assert span.events == ()
        assert span.status.description is None
