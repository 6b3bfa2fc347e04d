"""Triton's client, which speaks the Open Inference Protocol."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endpoints import EXAMPLES, Endpoint, cosine, output

from face_embedding_client import Embedding, FaceEmbeddingClient
from support import MOBILE

EXAMPLE = [sys.executable, str(EXAMPLES / "triton" / "infer.py"), MOBILE]
CALLS = [sys.executable, str(Path(__file__).with_name("triton_calls.py"))]


@pytest.fixture(scope="session")
def answers(plaintext: Endpoint, files: list[Path]) -> dict[str, Any]:
    """What Triton's client got for each of its calls."""
    found: dict[str, Any] = json.loads(output([*CALLS, plaintext.address, MOBILE, files[0]]))
    return found


def test_example(endpoint: Endpoint, files: list[Path], expected: list[Embedding]) -> None:
    """All three inputs give the embedding that our own client gets."""
    answer = json.loads(output([*EXAMPLE, *endpoint.flags, files[0]]))
    assert answer["live"]
    assert answer["ready"]
    assert set(answer["embeddings"]) == {"face", "data", "image"}
    for values in answer["embeddings"].values():
        assert cosine(values, expected[0]) >= 0.999999
    assert answer["cosine_to_face"] == pytest.approx(dict.fromkeys(answer["embeddings"], 1), 1e-6)


def test_metadata(plaintext: Endpoint, files: list[Path], client: FaceEmbeddingClient) -> None:
    """The metadata tells the version and the shapes, with -1 for the number of faces."""
    metadata = json.loads(output([*EXAMPLE, *plaintext.flags, files[0]]))["metadata"]
    info = client.model_info()
    assert metadata["name"] == info.name
    assert metadata["versions"] == [info.model_version]
    shapes = {
        tensor["name"]: (tensor["datatype"], *tensor["shape"])
        for tensor in metadata["inputs"] + metadata["outputs"]
    }
    assert shapes == {
        "data": ("FP32", "-1", "3", "112", "112"),
        "face": ("UINT8", "-1", "112", "112", "3"),
        "image": ("BYTES", "-1"),
        "pre_fc1": ("FP32", "-1", str(info.embedding_size)),
        "embedding": ("FP32", "-1", str(info.embedding_size)),
    }


def test_outputs(answers: dict[str, Any], expected: list[Embedding]) -> None:
    """Without a choice there are both outputs for every face, with the caller's id."""
    outputs = answers["two"]["outputs"]
    assert answers["two"]["id"] == "a"
    assert set(outputs) == {"pre_fc1", "embedding"}
    raw, embeddings = (np.array(outputs[name]["values"]) for name in ("pre_fc1", "embedding"))
    assert raw.shape == embeddings.shape == (2, len(expected[0].values))
    assert np.linalg.norm(raw[0]) == pytest.approx(expected[0].norm, rel=1e-5)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert cosine(embeddings[0], expected[0]) >= 0.999999
    # The second is the first one's mirror image.
    assert cosine(embeddings[1], expected[0]) < 0.9999


def test_chosen_output(answers: dict[str, Any], expected: list[Embedding]) -> None:
    """Only the output that was asked for is there."""
    ((name, tensor),) = answers["raw"]["outputs"].items()
    assert (name, tensor["datatype"]) == ("pre_fc1", "FP32")
    assert cosine(tensor["values"][0], expected[0]) >= 0.999999


@pytest.mark.parametrize("case", ["rgb", "version"])
def test_options(case: str, answers: dict[str, Any], expected: list[Embedding]) -> None:
    """Pixels may be RGB if the request says so, and the served version may be named."""
    values = answers[case]["outputs"]["embedding"]["values"][0]
    assert cosine(values, expected[0]) >= 0.999999


def test_stream(answers: dict[str, Any], expected: list[Embedding]) -> None:
    """In a stream a refused request has its error, and the next one is answered."""
    first, refused, last = answers["stream"]
    assert (first["id"], last["id"]) == ("0", "2")
    for answered in (first, last):
        values = answered["outputs"]["embedding"]["values"][0]
        assert cosine(values, expected[0]) >= 0.999999
    assert "[n, 112, 112, 3]" in refused["error"]


@pytest.mark.parametrize("case", ["warned faces", "warned planes"])
def test_warnings(case: str, answers: dict[str, Any]) -> None:
    """Each face has its warnings, as pixels of either type."""
    assert json.loads(answers[case]["parameters"]["warnings"]) == [[], ["CHANNEL_ORDER"]]


def test_no_warnings(answers: dict[str, Any]) -> None:
    """Without a warning there is no such parameter."""
    assert "warnings" not in answers["two"]["parameters"]


def test_precision(answers: dict[str, Any]) -> None:
    """An answer names the precision that its embeddings were made at."""
    assert answers["two"]["parameters"]["precision"] == "f32"


def test_model_ready(answers: dict[str, Any]) -> None:
    """The served model is ready, and one that is not served is not."""
    assert answers["ready"] == [True, False]


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("no input", "INVALID_ARGUMENT", "exactly one input"),
        ("two inputs", "INVALID_ARGUMENT", "exactly one input"),
        ("input name", "INVALID_ARGUMENT", "data, face, image"),
        ("dtype", "INVALID_ARGUMENT", "UINT8"),
        ("rank", "INVALID_ARGUMENT", "[n, 112, 112, 3]"),
        ("size", "INVALID_ARGUMENT", "[n, 112, 112, 3]"),
        ("planes", "INVALID_ARGUMENT", "[n, 3, 112, 112]"),
        ("not finite", "INVALID_ARGUMENT", "from 0 to 255"),
        ("too many", "INVALID_ARGUMENT", "at most 4"),
        ("none", "INVALID_ARGUMENT", "no face"),
        ("unreadable", "INVALID_ARGUMENT", "JPEG, PNG, WebP, AVIF or HEIC"),
        ("no face", "INVALID_ARGUMENT", "no face was found"),
        ("channel order", "INVALID_ARGUMENT", "BGR, RGB"),
        ("preparation", "INVALID_ARGUMENT", "aligned, detect, central, largest"),
        ("parameter", "INVALID_ARGUMENT", "channel_order"),
        ("output name", "INVALID_ARGUMENT", "pre_fc1, embedding"),
        ("model", "NOT_FOUND", MOBILE),
        ("model version", "NOT_FOUND", "version"),
    ],
)
def test_refusals(case: str, code: str, message: str, answers: dict[str, Any]) -> None:
    """What cannot be answered is refused with its code, and with what would be right."""
    assert answers[case]["code"] == f"StatusCode.{code}"
    assert message in answers[case]["error"]
