"""What the service answers to good requests."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, RawFace
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.faces.images import swap_red_and_blue
from support import MOBILE, encode, needs_mxnet, running_server, small_settings


def test_unit_length(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """An embedding has length 1 and tells the norm that it had."""
    embedding = client.embed(RawFace(faces[0], "BGR"))
    raw = client.embed(RawFace(faces[0], "BGR"), raw=True)
    assert np.linalg.norm(embedding.values) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(raw.values) == pytest.approx(embedding.norm, rel=1e-6)
    np.testing.assert_allclose(raw.values / embedding.norm, embedding.values, rtol=1e-5, atol=1e-7)


def test_channel_orders_agree(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """The same face as BGR pixels, as RGB pixels and as PNG has one embedding."""
    bgr = client.embed(RawFace(faces[0], "BGR"))
    rgb = client.embed(RawFace(swap_red_and_blue(faces[0]), "RGB"))
    png = client.embed(encode(faces[0]))
    np.testing.assert_array_equal(bgr.values, rgb.values)
    np.testing.assert_array_equal(bgr.values, png.values)


def test_wrong_channel_order_shows(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """A face sent under the wrong channel order has another embedding."""
    right = client.embed(RawFace(faces[0], "BGR"))
    wrong = client.embed(RawFace(faces[0], "RGB"))
    assert right.values @ wrong.values < 0.99


def test_jpeg(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """A JPEG file gives nearly the embedding of the pixels that it was made from."""
    jpeg, pixels = client.embed(encode(faces[0], ".jpg")), client.embed(RawFace(faces[0], "BGR"))
    assert jpeg.values @ pixels.values > 0.98


def test_order_of_results(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """Many faces are answered in the order in which they were sent."""
    together = client.embed_many([RawFace(face, "BGR") for face in faces])
    alone = [client.embed(RawFace(face, "BGR")) for face in faces]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(getattr(one, "values", None), other.values)


def test_compare_faces_and_embeddings(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """Images and stored embeddings, normalized or raw, compare to the same similarity."""
    first, second = RawFace(faces[0], "BGR"), encode(faces[1])
    expected = client.compare(first, second).cosine_similarity
    assert -1 <= expected < 1
    stored = client.compare(client.embed(first), client.embed(second, raw=True))
    assert stored.cosine_similarity == pytest.approx(expected, abs=1e-6)
    assert client.compare(first, first).cosine_similarity == 1


@pytest.mark.parametrize(
    ("threshold", "match"), [(None, None), (-1.0, True), (1.0, False)], ids=str
)
def test_decision(
    threshold: float | None, match: bool | None, client: FaceEmbeddingClient, faces: list[Face]
) -> None:
    """There is a decision exactly if there is a threshold, and it follows from it."""
    pair = [RawFace(face, "BGR") for face in faces[:2]]
    result = client.compare(*pair, threshold=threshold)
    assert result.match is match
    assert result.threshold == threshold


def test_model_info(client: FaceEmbeddingClient, store: Store) -> None:
    """The server says what it serves, how, and that the weights are synthetic."""
    info, stored = client.model_info(), store.get(MOBILE)
    assert (info.name, info.backend, info.precision) == (MOBILE, "openvino", "f32")
    assert (info.channel_order, info.embedding_size) == ("BGR", 128)
    assert (info.weights_sha256, info.embedding_space) == (
        stored.weights_sha256,
        f"{MOBILE}/{stored.weights_sha256[:16]}/fc1",
    )
    assert info.weights_origin == "SYNTHETIC"
    assert "mean nothing for recognition" in info.weights_note
    assert "MIT" in info.license_note
    assert "non-commercial" in info.license_note
    assert (info.max_faces_per_request, info.max_message_bytes) == (4, 1 << 20)


def test_stream_answers_each_item(channel: grpc.Channel, faces: list[Face]) -> None:
    """Every item of a stream is answered under its id, and a bad one does not end it."""
    good = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
    bad = pb.Face(encoded=b"junk", aligned=pb.Aligned())

    def items() -> Iterator[pb.EmbedStreamRequest]:
        for number in range(100):
            yield pb.EmbedStreamRequest(id=str(number), face=bad if number % 10 == 3 else good)
        yield pb.EmbedStreamRequest(id="empty")
        yield pb.EmbedStreamRequest(id="model", face=good, model="other")

    stub = pb_grpc.FaceEmbeddingServiceStub(channel)
    answers = {answer.id: answer.result for answer in stub.EmbedStream(items(), timeout=60)}
    refused = {name for name, result in answers.items() if result.WhichOneof("outcome") == "error"}
    assert len(answers) == 102
    assert refused == {"3", "13", "23", "33", "43", "53", "63", "73", "83", "93", "empty", "model"}
    assert answers["empty"].error.message == "face: the item has no face"
    assert answers["model"].error.code == grpc.StatusCode.NOT_FOUND.value[0]


def test_stream_is_bounded(store: Store, faces: list[Face]) -> None:
    """A caller that takes no answers is not read from without end."""
    taken = 0
    face = pb.Face(encoded=encode(faces[0]) + bytes(100_000), aligned=pb.Aligned())

    def items() -> Iterator[pb.EmbedStreamRequest]:
        nonlocal taken
        for taken in range(1, 2001):
            yield pb.EmbedStreamRequest(id=str(taken), face=face)

    settings = small_settings(store, max_stream_in_flight=4)
    with running_server(settings) as running, grpc.insecure_channel(running.address) as channel:
        call = pb_grpc.FaceEmbeddingServiceStub(channel).EmbedStream(items(), timeout=60)
        first = next(call)
        assert first.result.HasField("embedding")
        assert taken < 1000
        call.cancel()


def test_health_and_loading(store: Store) -> None:
    """Until the model has answered once, health is NOT_SERVING and requests are UNAVAILABLE."""
    with (
        running_server(small_settings(store), load=False) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        name = "face_embedding.v1.FaceEmbeddingService"
        statuses = [
            health.Check(health_pb2.HealthCheckRequest(service=s)).status for s in ("", name)
        ]
        assert statuses == [health_pb2.HealthCheckResponse.NOT_SERVING] * 2
        with pytest.raises(grpc.RpcError, match="is being loaded") as caught:
            stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        running.server.load()
        statuses = [
            health.Check(health_pb2.HealthCheckRequest(service=s)).status for s in ("", name)
        ]
        assert statuses == [health_pb2.HealthCheckResponse.SERVING] * 2
        assert stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=10).name == MOBILE


def test_reflection(channel: grpc.Channel) -> None:
    """A client without stubs learns the contract by reflection."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("face_embedding.v1.FaceEmbeddingService")
    assert [method.name for method in service.methods] == [
        "Embed",
        "EmbedStream",
        "Compare",
        "Detect",
        "GetModelInfo",
        "ListModels",
    ]


def test_unverified_is_said(trained_store: Store) -> None:
    """Weights that were imported unverified are called so."""
    with (
        running_server(small_settings(trained_store)) as running,
        FaceEmbeddingClient(running.address) as client,
    ):
        assert client.model_info().weights_origin == "UNVERIFIED"


@needs_mxnet
def test_server_fault_is_internal(store: Store, faces: list[Face]) -> None:
    """A fault of the engine is INTERNAL, without its text, for a call, a batch and a stream."""
    with (
        running_server(small_settings(store, backend="mxnet"), load=False) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        running.server.load().backend.close()  # A closed engine fails every inference.
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
        with pytest.raises(grpc.RpcError) as caught:
            stub.Embed(pb.EmbedRequest(faces=[face]), timeout=10)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details() == "the server failed to answer; its log has the details"
        batch = stub.Embed(pb.EmbedRequest(faces=[face, face]), timeout=10)
        assert {r.error.code for r in batch.results} == {grpc.StatusCode.INTERNAL.value[0]}
        items = iter([pb.EmbedStreamRequest(id="a", face=face)])
        (answer,) = stub.EmbedStream(items, timeout=10)
        assert answer.result.error.code == grpc.StatusCode.INTERNAL.value[0]
