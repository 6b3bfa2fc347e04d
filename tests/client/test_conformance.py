"""The command `conformance` and its golden file, against a real server."""

import base64
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import MOBILE

SHIPPED = resources.files("face_embedding_client") / "conformance.json"
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def golden_file(tmp_path: Path) -> Callable[[Edit], str]:
    """Makes a golden file that differs from the shipped one."""

    def make(edit: Edit) -> str:
        document = json.loads(SHIPPED.read_text("utf-8"))
        edit(document)
        file = tmp_path / "golden.json"
        file.write_text(json.dumps(document), "utf-8")
        return str(file)

    return make


def case(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A case of a golden file."""
    return next(c for c in document["faces"] + document["errors"] if c["name"] == name)


def failures(out: str) -> list[tuple[str, str]]:
    """The checks that failed."""
    results = json.loads(out)["results"]
    return [(each["group"], each["name"]) for each in results if each["status"] == "failed"]


@pytest.mark.parametrize("flags", [(), ("--model", MOBILE)], ids=["default", "named"])
def test_stand_in(flags: tuple[str, ...], run: Any) -> None:
    """The server with the stand-in passes everything, with and without the model's name."""
    status, out, err = run("conformance", *flags)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "67 passed, 0 failed, 0 skipped"
    assert "expected INVALID_ARGUMENT NO_FACES faces; got INVALID_ARGUMENT NO_FACES faces" in out


def test_json(run: Any) -> None:
    """`--json` prints every check with what it proves."""
    status, out, _ = run("conformance", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["golden_compared"] is True
    assert (facts["passed"], facts["failed"], facts["skipped"]) == (67, 0, 0)
    assert facts["golden_space"] == facts["embedding_space"]
    assert {result["group"] for result in facts["results"]} == {
        "invariant",
        "face",
        "relation",
        "error",
    }
    assert all(result["proves"] for result in facts["results"])


def test_changed_embedding(run: Any, golden_file: Callable[[Edit], str]) -> None:
    """One other golden embedding is noticed."""

    def edit(document: dict[str, Any]) -> None:
        face = case(document, "jpeg")
        values = np.frombuffer(base64.b64decode(face["embedding"]), "<f4").copy()
        values[7] += 0.1
        face["embedding"] = base64.b64encode(values.tobytes()).decode()

    status, out, _ = run("conformance", "--golden", golden_file(edit), "--json")
    assert (status, failures(out)) == (1, [("face", "jpeg")])
    text = run("conformance", "--golden", golden_file(edit))[1]
    (line,) = (line for line in text.splitlines() if line.startswith("FAILED"))
    assert "jpeg " in line
    assert "at least 0.999; got 0.99" in line


def test_swapped_channels(run: Any, golden_file: Callable[[Edit], str]) -> None:
    """Pixels in another order than they say are noticed."""

    def edit(document: dict[str, Any]) -> None:
        case(document, "raw RGB")["face"]["raw"]["channel_order"] = "CHANNEL_ORDER_BGR"

    status, out, _ = run("conformance", "--golden", golden_file(edit), "--json")
    assert (status, failures(out)) == (1, [("face", "raw RGB"), ("relation", "raw RGB")])


@pytest.mark.parametrize("key", ["code", "reason", "field"])
def test_another_refusal(key: str, run: Any, golden_file: Callable[[Edit], str]) -> None:
    """A refusal with another code, reason or field is noticed."""
    file = golden_file(lambda document: case(document, "wrong size").update({key: "OTHER"}))
    status, out, _ = run("conformance", "--golden", file, "--json")
    assert (status, failures(out)) == (1, [("error", "wrong size")])


def test_request_that_is_answered(run: Any, golden_file: Callable[[Edit], str]) -> None:
    """So is an answer where there has to be a refusal."""
    file = golden_file(lambda document: case(document, "unknown model").update(request=answered()))
    status, out, _ = run("conformance", "--golden", file)
    assert status == 1
    assert "expected NOT_FOUND MODEL_UNKNOWN model; got an answer" in out


def answered() -> dict[str, Any]:
    document = json.loads(SHIPPED.read_text("utf-8"))
    return {"faces": [case(document, "png")["face"]]}


def test_refused_face(run: Any, golden_file: Callable[[Edit], str]) -> None:
    """A face that is refused fails, and what is to be compared with it is skipped."""
    file = golden_file(lambda document: case(document, "png grey")["face"].update(encoded="AAAA"))
    status, out, _ = run("conformance", "--golden", file, "--json")
    facts = json.loads(out)
    assert (status, failures(out)) == (1, [("face", "png grey")])
    assert facts["skipped"] == 2
    assert "INVALID_ARGUMENT IMAGE_UNREADABLE faces[0].encoded" in out


def test_another_space(run: Any, golden_file: Callable[[Edit], str]) -> None:
    """With another model all else is checked, and it is said what was not."""
    file = golden_file(lambda document: document.update(embedding_space="another/space"))
    status, out, _ = run("conformance", "--golden", file)
    assert status == 0
    assert "golden embeddings were not compared: they are of another/space, this server's" in out
    facts = json.loads(run("conformance", "--golden", file, "--json")[1])
    assert (facts["golden_compared"], facts["passed"], facts["skipped"]) == (False, 50, 17)


def test_write(run: Any, tmp_path: Path) -> None:
    """`--write` makes the shipped file again, and the server passes by it."""
    file = tmp_path / "golden.json"
    status, out, _ = run("conformance", "--write", str(file))
    assert (status, out.splitlines()[0][:13]) == (0, "17 embeddings")
    shipped, written = json.loads(SHIPPED.read_text("utf-8")), json.loads(file.read_text("utf-8"))
    for before, after in zip(shipped["faces"], written["faces"], strict=True):
        values = [
            np.frombuffer(base64.b64decode(face.pop("embedding")), "<f4")
            for face in (before, after)
        ]
        np.testing.assert_allclose(*values, atol=1e-5)
    assert written == shipped
    assert run("conformance", "--golden", str(file))[0] == 0


def test_write_of_another_model(
    run: Any, tmp_path: Path, golden_file: Callable[[Edit], str]
) -> None:
    """A written file names the model and the space of the server, and keeps the rest."""
    edited = golden_file(lambda document: document.update(model="other", embedding_space="other"))
    file = tmp_path / "written.json"
    assert run("conformance", "--golden", edited, "--write", str(file))[0] == 0
    assert json.loads(file.read_text("utf-8"))["model"] == "face-recognition-mobilefacenet-arcface"


def test_write_a_refused_face(run: Any, tmp_path: Path, golden_file: Callable[[Edit], str]) -> None:
    """A file is not written if a face is refused."""
    edited = golden_file(lambda document: case(document, "jpeg")["face"].update(encoded="AAAA"))
    file = tmp_path / "written.json"
    status, _, err = run("conformance", "--golden", edited, "--write", str(file))
    assert status == 2
    assert "the server refuses the face 'jpeg'" in err
    assert not file.exists()


def test_write_nowhere(run: Any, tmp_path: Path) -> None:
    """Where a file could not be written, nothing is asked."""
    file = tmp_path / "none" / "golden.json"
    assert run("conformance", "--write", str(file), address="127.0.0.1:1")[0] == 2
    assert run("conformance", "--write", str(tmp_path / "x"), address="127.0.0.1:1")[0] == 2


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda document: document.update(format=2), "its format is 2, this program knows 1"),
        (lambda document: document.pop("errors"), "it has no 'errors'"),
        (lambda document: document["tolerances"].pop("f32"), "it has no 'f32'"),
        (lambda document: case(document, "png").update(name="x"), "there is no face named png"),
        (lambda document: case(document, "jpeg").update(name="png"), "have the same name"),
        (lambda document: case(document, "jpeg").update(face={"jpg": ""}), "no field named"),
        (lambda document: case(document, "jpeg").update(embedding="?"), "is no golden file"),
        (lambda document: case(document, "no face").update(method="Erase"), "it has no 'Erase'"),
    ],
)
def test_bad_golden_file(
    edit: Edit, words: str, run: Any, golden_file: Callable[[Edit], str]
) -> None:
    """What is no golden file is an error that says why."""
    status, out, err = run("conformance", "--golden", golden_file(edit))
    assert (status, out) == (2, "")
    assert words in err


def test_no_golden_file(run: Any, tmp_path: Path) -> None:
    """So is what is no JSON, and a file that does not exist."""
    file = tmp_path / "golden.json"
    assert run("conformance", "--golden", str(file))[0] == 2
    file.write_text("golden", "utf-8")
    status, _, err = run("conformance", "--golden", str(file))
    assert status == 2
    assert "golden.json is no golden file" in err


def test_no_server(run: Any) -> None:
    """Without a server the status is 2."""
    assert run("conformance", address="127.0.0.1:1")[:2] == (2, "")
