"""The command `conformance`, against servers that break the contract."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from twins import Client

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import (
    AsyncFaceEmbeddingClient,
    FaceEmbeddingClient,
    IncompleteStreamError,
    RawFace,
)
from face_embedding_server.faces.images import Image as Pixels


def embeddings_in(message: Any) -> list[pb.Embedding]:
    results = message.results if isinstance(message, pb.EmbedResponse) else []
    return [result.embedding for result in results if result.HasField("embedding")]


def without_b(message: Any) -> Any:
    lost = isinstance(message, pb.EmbedStreamResponse) and message.id == "b"
    return None if lost else message


def not_serving(message: Any) -> Any:
    if isinstance(message, health_pb2.HealthCheckResponse):
        message.status = health_pb2.HealthCheckResponse.NOT_SERVING
    return message


def no_version(message: Any) -> Any:
    if isinstance(message, pb.GetModelInfoResponse):
        message.model_version = ""
    return message


def another_label(message: Any) -> Any:
    for embedding in embeddings_in(message):
        embedding.space = "another"
    return message


def twice_as_long(message: Any) -> Any:
    for embedding in embeddings_in(message):
        embedding.values[:] = [2 * value for value in embedding.values]
    return message


def never_raw(message: Any) -> Any:
    if isinstance(message, pb.EmbedRequest):
        message.normalization = pb.NORMALIZATION_L2
    return message


def no_models(message: Any) -> Any:
    if isinstance(message, pb.ListModelsResponse):
        del message.models[:]
    return message


def no_default(message: Any) -> Any:
    if isinstance(message, pb.ListModelsResponse):
        message.models[0].is_default = False
    return message


def out_of_order(message: Any) -> Any:
    if isinstance(message, pb.EmbedResponse) and len(message.results) > 1:
        results = [pb.EmbedResult.FromString(r.SerializeToString()) for r in message.results]
        del message.results[:]
        message.results.extend(reversed(results))
    return message


def forgets_an_item(message: Any) -> Any:
    return None if isinstance(message, pb.EmbedStreamResponse) and message.id == "b" else message


def mixes_items_up(message: Any) -> Any:
    if isinstance(message, pb.EmbedStreamResponse):
        message.id = {"a": "refused", "refused": "a"}.get(message.id, message.id)
    return message


def too_similar(message: Any) -> Any:
    if isinstance(message, pb.CompareResponse):
        message.cosine_similarity = (1 + message.cosine_similarity) / 2
    return message


def too_different(message: Any) -> Any:
    if isinstance(message, pb.CompareResponse):
        message.cosine_similarity *= 0.9
    return message


def always_decides(message: Any) -> Any:
    if isinstance(message, pb.CompareResponse):
        message.decision = pb.DECISION_MATCH
    return message


@pytest.mark.parametrize(
    ("alter", "noticed"),
    [
        (not_serving, {"health"}),
        (no_version, {"description", "models", "labels"}),
        (no_models, {"models"}),
        (no_default, {"models"}),
        (another_label, {"labels", "compare embeddings", "decisions"}),
        (twice_as_long, {"unit length", "raw values", "compare embeddings"}),
        (never_raw, {"raw values"}),
        (out_of_order, {"several faces"}),
        (forgets_an_item, {"stream"}),
        (mixes_items_up, {"stream"}),
        (too_similar, {"compare embeddings"}),
        (too_different, {"compare with itself", "compare embeddings"}),
        (always_decides, {"decisions"}),
    ],
)
def test_broken_contract(
    alter: Callable[[Any], Any],
    noticed: set[str],
    run: Any,
    tampered: Callable[[Callable[[Any], Any]], str],
) -> None:
    """A server that breaks the contract in one way fails by the checks that are about it."""
    status, out, _ = run("conformance", "--json", "--timeout", "10", address=tampered(alter))
    assert status == 1
    results = json.loads(out)["results"]
    failed = [each for each in results if each["status"] == "failed"]
    assert {each["name"] for each in failed if each["group"] == "invariant"} == noticed


def test_untampered(run: Any, tampered: Callable[[Callable[[Any], Any]], str]) -> None:
    """The server in between is not what fails."""
    assert run("conformance", address=tampered(lambda message: message))[0] == 0


def test_one_face_a_request(run: Any, tampered: Callable[[Callable[[Any], Any]], str]) -> None:
    """What a server's limits do not allow to check is skipped."""

    def alter(message: Any) -> Any:
        if isinstance(message, pb.GetModelInfoResponse):
            message.limits.max_faces_per_request = 1
        return message

    status, out, _ = run("conformance", address=tampered(alter))
    assert status == 0
    assert out.splitlines()[-1].endswith("0 failed, 1 skipped")


def test_answer_that_is_lost_once(
    kind: type[Client], tampered: Callable[[Callable[[Any], Any]], str], faces: list[Pixels]
) -> None:
    """A face whose answer a stream forgets is sent again."""
    forgotten: list[str] = []

    def forget(message: Any) -> Any:
        if forgotten or without_b(message):
            return message
        forgotten.append(message.id)
        return None

    answers = kind(tampered(forget)).embed_stream(
        (name, RawFace(faces[0], "BGR")) for name in "abc"
    )
    assert (sorted(name for name, _ in answers), forgotten) == (list("abc"), ["b"])


def test_lost_answer(tampered: Callable[[Callable[[Any], Any]], str], faces: list[Pixels]) -> None:
    """A stream that ends well without an answer to a face is an error, after those there are."""
    with FaceEmbeddingClient(tampered(without_b)) as client:
        answers = client.embed_stream((name, RawFace(faces[0], "BGR")) for name in "abc")
        assert sorted(name for name, _ in (next(answers), next(answers))) == ["a", "c"]
        with pytest.raises(IncompleteStreamError, match="ended with 1 faces unanswered"):
            next(answers)


def test_lost_answer_of_the_asyncio_client(
    tampered: Callable[[Callable[[Any], Any]], str], faces: list[Pixels]
) -> None:
    """The client for asyncio tells it too."""

    async def stream() -> None:
        async with AsyncFaceEmbeddingClient(tampered(without_b)) as client:
            async for _ in client.embed_stream((name, RawFace(faces[0], "BGR")) for name in "abc"):
                pass

    with pytest.raises(IncompleteStreamError, match="ended with 1 faces unanswered"):
        asyncio.run(stream())
