"""The example with the package's own client."""

import json
import sys
from pathlib import Path

import pytest
from endpoints import EXAMPLES, Endpoint, cosine, output, run

from face_embedding_client import Embedding, FaceEmbeddingClient, Photograph

SCRIPT = [sys.executable, str(EXAMPLES / "python" / "embed.py")]


def test_embeds_and_compares(
    endpoint: Endpoint, files: list[Path], client: FaceEmbeddingClient, expected: list[Embedding]
) -> None:
    """It gets the embeddings of two faces and their similarity."""
    answer = json.loads(output([*SCRIPT, *endpoint.flags, *files]))
    assert answer["space"] == expected[0].space
    for values, embedding in zip(answer["embeddings"], expected, strict=True):
        assert cosine(values, embedding) >= 0.999999
    similarity = client.compare(*expected).cosine_similarity
    assert answer["cosine_similarity"] == pytest.approx(similarity, abs=1e-6)


def test_photographs(plaintext: Endpoint, photograph: Path, client: FaceEmbeddingClient) -> None:
    """With `--detect` the server finds the faces."""
    command = [*SCRIPT, *plaintext.flags, "--detect", photograph, photograph]
    answer = json.loads(output(command))
    expected = client.embed(Photograph(photograph.read_bytes()))
    assert cosine(answer["embeddings"][0], expected) >= 0.999999
    assert answer["cosine_similarity"] == pytest.approx(1, abs=1e-6)


def test_refusal(plaintext: Endpoint, unreadable: Path) -> None:
    """It prints the code, the reason and the message of a refusal."""
    result = run([*SCRIPT, *plaintext.flags, unreadable, unreadable])
    assert result.returncode == 1
    assert result.stderr.startswith("INVALID_ARGUMENT IMAGE_UNREADABLE: faces[0].encoded: ")


def test_no_token(token: Endpoint, files: list[Path]) -> None:
    """Without its token it is told that credentials are missing."""
    stranger = Endpoint(token.address, token.ca)
    result = run([*SCRIPT, *stranger.flags, *files])
    assert result.returncode == 1
    assert "UNAUTHENTICATED CREDENTIALS_MISSING" in result.stderr
