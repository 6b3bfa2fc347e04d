"""The example for Node.js."""

import json
import shutil
from pathlib import Path

import pytest
from endpoints import EXAMPLES, ROOT, Endpoint, cosine, output, run

from face_embedding_client import Embedding, FaceEmbeddingClient, Photograph

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example with its packages, in a copy of the folders that it takes."""
    copy = tmp_path_factory.mktemp("node")
    example = copy / "examples" / "node"
    shutil.copytree(EXAMPLES / "node", example, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / "protos", copy / "protos")
    output(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=example)
    return ["node", str(example / "embed.js")]


def test_embeds_and_compares(
    script: list[str],
    endpoint: Endpoint,
    files: list[Path],
    client: FaceEmbeddingClient,
    expected: list[Embedding],
) -> None:
    """It gets the embeddings of two faces and their similarity."""
    answer = json.loads(output([*script, *endpoint.flags, *files]))
    assert answer["space"] == expected[0].space
    for values, embedding in zip(answer["embeddings"], expected, strict=True):
        assert cosine(values, embedding) >= 0.999999
    similarity = client.compare(*expected).cosine_similarity
    assert answer["cosine_similarity"] == pytest.approx(similarity, abs=1e-6)


def test_photograph(
    script: list[str], plaintext: Endpoint, photograph: Path, client: FaceEmbeddingClient
) -> None:
    """With `--detect` the server finds the face."""
    answer = json.loads(output([*script, *plaintext.flags, "--detect", photograph]))
    expected = client.embed(Photograph(photograph.read_bytes()))
    assert cosine(answer["embeddings"][0], expected) >= 0.999999


def test_refusal(script: list[str], plaintext: Endpoint, unreadable: Path) -> None:
    """It reads the reason and the field out of a refusal."""
    result = run([*script, *plaintext.flags, unreadable])
    assert result.returncode == 1
    error = json.loads(result.stderr)
    assert error.pop("message").startswith("faces[0].encoded: ")
    assert error == {
        "code": "INVALID_ARGUMENT",
        "reason": "IMAGE_UNREADABLE",
        "field": "faces[0].encoded",
    }


def test_no_token(script: list[str], token: Endpoint, files: list[Path]) -> None:
    """Without its token it is told that credentials are missing."""
    stranger = Endpoint(token.address, token.ca)
    result = run([*script, *stranger.flags, *files])
    assert result.returncode == 1
    error = json.loads(result.stderr)
    assert (error["code"], error["reason"]) == ("UNAUTHENTICATED", "CREDENTIALS_MISSING")


def test_no_server(script: list[str], files: list[Path]) -> None:
    """An error that no service answered has a code and no reason."""
    result = run([*script, "--address", "127.0.0.1:1", files[0]])
    assert result.returncode == 1
    error = json.loads(result.stderr)
    assert error["code"] == "UNAVAILABLE"
    assert "reason" not in error
