"""KServe's own client, in an environment of its own."""

import json
import re
import venv
from pathlib import Path

import pytest
from endpoints import EXAMPLES, Endpoint, cosine, output, run

from face_embedding_client import Embedding
from support import MOBILE

# They share the environment, whose making takes long.
pytestmark = pytest.mark.xdist_group("kserve")

EXAMPLE = EXAMPLES / "kserve" / "infer.py"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with what the example says that it needs."""
    needed = re.search(r"pip install (kserve==\S+)`", EXAMPLE.read_text())
    assert needed
    folder = tmp_path_factory.mktemp("kserve")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    output([python, "-m", "pip", "install", "--quiet", needed[1]])
    return python


def test_example(
    python: Path, endpoint: Endpoint, files: list[Path], expected: list[Embedding]
) -> None:
    """Both inputs give the embedding that our own client gets."""
    answer = json.loads(output([python, EXAMPLE, *endpoint.flags, MOBILE, files[0]]))
    assert (answer["live"], answer["ready"], answer["model_ready"]) == (True, True, True)
    assert set(answer["embeddings"]) == {"face", "image"}
    for values in answer["embeddings"].values():
        assert cosine(values, expected[0]) >= 0.999999


def test_refusal(python: Path, plaintext: Endpoint, files: list[Path]) -> None:
    """A refused request ends the program with the status and what was wrong."""
    result = run([python, EXAMPLE, *plaintext.flags, "nobody", files[0]])
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("NOT_FOUND: ")
