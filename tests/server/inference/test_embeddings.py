"""Cosine similarities, wherever they are computed."""

from collections.abc import Callable

import numpy as np
import pytest

from face_embedding_client import FaceEmbeddingClient
from face_embedding_client._similarity import cosines as client_cosines
from face_embedding_models import similarity
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.inference.embeddings import cosine_similarity
from support import encode

RANDOM = np.random.default_rng(0)
# Of the lengths of embeddings, and of norms that float32 has.
VECTORS = [
    (RANDOM.standard_normal(size) * 10.0**exponent).astype(np.float32)
    for size in (2, 8, 128, 511, 512)
    for exponent in (-18, -3, 0, 3, 18)
    for _ in range(20)
]

Cosine = Callable[[np.ndarray, np.ndarray], float]
COSINES: dict[str, Cosine] = {
    "server": cosine_similarity,
    "models": lambda one, other: float(similarity.cosines(one[None], other[None])[0]),
    "client": lambda one, other: float(client_cosines(one, other[None])[0]),
}


@pytest.mark.parametrize("cosine", COSINES.values(), ids=COSINES)
def test_equal(cosine: Cosine) -> None:
    """Equal vectors have a cosine of exactly 1, and opposite ones of exactly -1."""
    assert {cosine(each, each.copy()) for each in VECTORS} == {1.0}
    assert {cosine(each, -each) for each in VECTORS} == {-1.0}


@pytest.mark.parametrize("cosine", COSINES.values(), ids=COSINES)
def test_rounded(cosine: Cosine) -> None:
    """A vector has a cosine of exactly 1 to the same one at length 1, and to nothing else."""
    norms = [np.float32(np.linalg.norm(each.astype(np.float64))) for each in VECTORS]
    pairs = list(zip(VECTORS, norms, strict=True))
    assert {cosine(each, each / norm) for each, norm in pairs} == {1.0}
    other = np.array([1, 1e-5], np.float32)
    assert cosine(np.array([1, 0], np.float32), other) < 1


@pytest.mark.parametrize("cosine", COSINES.values(), ids=COSINES)
def test_bounds(cosine: Cosine) -> None:
    """Of vectors that are nearly parallel it is never above 1."""
    assert max(cosine(each, each * np.float32(3)) for each in VECTORS) <= 1


@pytest.mark.parametrize("cosine", COSINES.values(), ids=COSINES)
def test_value(cosine: Cosine) -> None:
    """It is the cosine of the angle."""
    one, other = np.array([1, 0], np.float32), np.array([3, 4], np.float32)
    assert cosine(one, other) == pytest.approx(0.6, abs=1e-15)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_not_a_number() -> None:
    """Of what is no embedding it is no number, which is near to nothing."""
    nothing, not_finite = np.zeros(2, np.float32), np.full(2, np.nan, np.float32)
    one = np.ones(2, np.float32)
    assert np.isnan([cosine_similarity(one, nothing), cosine_similarity(not_finite, one)]).all()


def test_same_face(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """A face matches itself at a threshold of 1, as an image and as a stored embedding."""
    files = [encode(np.roll(face, shift, axis=1)) for face in faces for shift in (0, 3)]
    stored = [client.embed(file, raw=raw) for file in files for raw in (True, False)]
    answers = [client.compare(each, each, threshold=1.0) for each in (*files, *stored)]
    assert {(each.cosine_similarity, each.decision) for each in answers} == {(1.0, "MATCH")}


def test_stored_face(client: FaceEmbeddingClient, faces: list[Face]) -> None:
    """An image matches its own stored embedding at a threshold of 1, raw or of length 1."""
    files = [encode(face) for face in faces]
    answers = [
        client.compare(file, client.embed(file, raw=raw), threshold=1.0)
        for file in files
        for raw in (True, False)
    ]
    assert {(each.cosine_similarity, each.decision) for each in answers} == {(1.0, "MATCH")}
