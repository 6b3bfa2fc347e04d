"""Golden files, whatever is in them."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from face_embedding_client.conformance import golden
from face_embedding_client.conformance.golden import GoldenError
from support.damage import altered, attempt, damaged

SHIPPED = (resources.files("face_embedding_client") / "conformance.json").read_bytes()


def few() -> Any:
    """A golden file of few cases, so that each of its parts is met often."""
    document = json.loads(SHIPPED)
    cases = (golden.REFERENCE_CASE, golden.OTHER_CASE)
    document["faces"] = [face for face in document["faces"] if face["name"] in cases]
    document["errors"] = document["errors"][:3]
    return document


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden") / "golden.json"


@given(data=altered(few()) | damaged([json.dumps(few()).encode()]))
@settings(max_examples=500)
def test_altered(path: Path, data: bytes) -> None:
    """A golden file is refused with its path, shortly, or what is read has the right types."""
    path.write_bytes(data)
    found = attempt(GoldenError, lambda: golden.load(path))
    if isinstance(found, GoldenError):
        assert str(path) in str(found)
        assert len(str(found)) < 500
        return
    for case in found.faces:
        case.name.encode()
        assert -1 <= case.min_cosine <= 1
        assert all(-1 <= relation.cosine <= 1 for relation in case.relations)
    for refused in found.errors:
        assert all(isinstance(part, str) for part in (refused.name, *refused.answer))
    assert -1 <= found.tolerance("f32") <= 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tolerances": {"f32": {"min_cosine": "1"}}}, "'min_cosine' cannot be '1', it is a numb"),
        ({"embedding_space": 1}, "'embedding_space' cannot be 1, it is a text"),
        ({"about": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_refusals(path: Path, change: dict[str, object], reason: str) -> None:
    """A value of the wrong type is refused by its key."""
    path.write_text(json.dumps(few() | change), "utf-8")
    with pytest.raises(GoldenError, match=reason):
        golden.load(path)


def test_unknown_key(path: Path) -> None:
    """A key that this version does not know is left aside."""
    path.write_text(json.dumps(few() | {"later": [1]}), "utf-8")
    assert len(golden.load(path).faces) == 2


def test_deep(path: Path) -> None:
    """Lists within lists are refused, however deep."""
    path.write_text("[" * 100_000, "utf-8")
    with pytest.raises(GoldenError, match="nested too deeply"):
        golden.load(path)
