"""The command `face-embedding`, against a real server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import MOBILE, RunningServer, encode, running_server, small_settings


@pytest.fixture
def files(tmp_path: Path, faces: list[Face]) -> list[str]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, face in zip(paths, faces, strict=False):
        path.write_bytes(encode(face))
    return [str(path) for path in paths]


def test_embed_to_file(run: Any, files: list[str], tmp_path: Path) -> None:
    """`embed --output` writes names and embeddings in the order of the files."""
    output = tmp_path / "x.npz"
    status, _, err = run("embed", *files, "--output", str(output))
    assert (status, err) == (0, f"3 of 3 embeddings in {output}\n")
    with np.load(output) as archive:
        assert archive["names"].tolist() == files
        assert (archive["embeddings"].shape, archive["embeddings"].dtype) == ((3, 128), np.float32)
        np.testing.assert_allclose(np.linalg.norm(archive["embeddings"], axis=1), 1, atol=1e-6)


def test_embed_json(run: Any, files: list[str]) -> None:
    """`embed --json` prints every embedding."""
    status, out, _ = run("embed", *files, "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["name"] for row in rows] == files
    assert len(rows[0]["values"]) == 128
    assert [row["precision"] for row in rows] == ["f32"] * 3


def test_embed_text(run: Any, files: list[str]) -> None:
    """`embed` prints a line for each file."""
    status, out, _ = run("embed", *files)
    assert status == 0
    assert [line.split(":")[0] for line in out.splitlines()] == files


def test_embed_refused(run: Any, files: list[str], tmp_path: Path) -> None:
    """A refused file is named with its reason, the others are embedded, and the status is 1."""
    junk = tmp_path / "junk.png"
    junk.write_bytes(b"junk")
    status, out, err = run("embed", files[0], str(junk))
    assert status == 1
    assert out.startswith(f"{files[0]}: norm ")
    assert f"{junk}: encoded: the image is not a JPEG, PNG, WebP, AVIF or HEIC file" in err
    assert (
        json.loads(run("embed", str(junk), "--json")[1])[0]["error"]["reason"] == "IMAGE_UNREADABLE"
    )


def test_unreadable_files(run: Any, files: list[str], tmp_path: Path) -> None:
    """A missing file and a folder are errors of their own, and the others are embedded."""
    output = tmp_path / "x.npz"
    arguments = [files[0], str(tmp_path / "none.png"), str(tmp_path), files[1]]
    status, out, err = run("embed", *arguments, "--output", str(output))
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()] == files[:2]
    assert "none.png: cannot be read: No such file" in err
    assert f"{tmp_path}: cannot be read: Is a directory" in err
    with np.load(output) as archive:
        assert archive["names"].tolist() == files[:2]


def test_nothing_embedded(run: Any, tmp_path: Path) -> None:
    """Without any embedding the file still has arrays of the right shape and type."""
    output = tmp_path / "x.npz"
    assert run("embed", str(tmp_path / "none.png"), "--output", str(output))[0] == 1
    with np.load(output) as archive:
        assert archive["embeddings"].shape == (0, 128)
        assert archive["names"].dtype.kind == "U"


@pytest.mark.parametrize("name", ["x", "none/x.npz"])
def test_bad_output(name: str, run: Any, files: list[str], tmp_path: Path) -> None:
    """An output that cannot be written is refused before any work."""
    status, out, err = run("embed", *files, "--output", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert name in err


@pytest.mark.parametrize("timeout", ["nan", "-1", "0", "soon"])
def test_bad_timeout(timeout: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A timeout that is no positive number is a usage error."""
    with pytest.raises(SystemExit, match="2"):
        run("info", "--timeout", timeout)
    assert "--timeout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threshold", "status", "decision", "words"),
    [
        (None, 0, "UNSPECIFIED", ""),
        ("-1", 0, "MATCH", ": match"),
        ("1", 1, "NO_MATCH", ": no match"),
    ],
    ids=["none", "match", "no match"],
)
def test_compare(
    threshold: str | None, status: int, decision: str, words: str, run: Any, files: list[str]
) -> None:
    """`compare` tells the similarity, and by a threshold the decision, which the status follows."""
    flags = () if threshold is None else ("--threshold", threshold)
    code, out, _ = run("compare", *files[:2], *flags, "--json")
    facts = json.loads(out)
    assert (code, facts["decision"]) == (status, decision)
    assert -1 <= facts["cosine_similarity"] <= 1
    line = run("compare", *files[:2], *flags)[1]
    assert line == f"cosine similarity {facts['cosine_similarity']:.4f}{words}\n"


def test_info(run: Any) -> None:
    """`info` says what is served, and that its weights are synthetic."""
    assert json.loads(run("info", "--json")[1])["weights_origin"] == "SYNTHETIC"
    assert MOBILE in run("info")[1]


def test_models(run: Any) -> None:
    """`models` lists what is served."""
    (listed,) = json.loads(run("models", "--json")[1])
    assert (listed["name"], listed["is_default"]) == (MOBILE, True)
    version = listed["model_version"]
    line = f"{MOBILE}: version {version}, f32, synthetic weights, the default one\n"
    assert run("models")[:2] == (0, line)


def test_health(run: Any, store: Store) -> None:
    """`health` exits with 0 only when SERVING."""
    assert run("health")[:2] == (0, "SERVING\n")
    assert run("health", "--timeout", "2", address="127.0.0.1:1")[:2] == (1, "UNREACHABLE\n")
    with running_server(small_settings(store), load=False) as loading:
        assert run("health", "--json", address=loading.address)[:2] == (
            1,
            '{"status": "NOT_SERVING"}\n',
        )


def test_no_server(run: Any) -> None:
    """Without a server the error names the address, and the status is 2."""
    status, _, err = run("info", "--timeout", "2", address="127.0.0.1:1")
    assert status == 2
    assert "127.0.0.1:1" in err


def test_as_module(server: RunningServer) -> None:
    """The command runs as `python -m face_embedding_client`."""
    command = [sys.executable, "-m", "face_embedding_client", "health", "--address", server.address]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "SERVING\n"


@pytest.mark.parametrize("side", [0, 1])
def test_compare_refused(side: int, run: Any, files: list[str], tmp_path: Path) -> None:
    """A face that is refused, or cannot be read, is a no with its reason, in words and as JSON."""
    junk = tmp_path / "junk.png"
    junk.write_bytes(b"junk")
    for name, reason in ((str(junk), "IMAGE_UNREADABLE"), (f"{junk}.gone", "FILE_UNREADABLE")):
        sides = [files[0], files[1]]
        sides[side] = name
        status, out, _ = run("compare", *sides, "--json")
        row = json.loads(out)
        assert (status, row["name"], row["error"]["reason"]) == (1, name, reason)
        status, out, err = run("compare", *sides)
        assert (status, out) == (1, "")
        assert err.startswith(f"{name}: ")


def test_compare_unknown_operating_point(run: Any, files: list[str]) -> None:
    """An operating point that is not there is an error, and no answer about a face."""
    status, out, err = run("compare", *files[:2], "--operating-point", "none")
    assert (status, out) == (2, "")
    assert "no operating point 'none'" in err


def test_compare_stored(run: Any, files: list[str], tmp_path: Path) -> None:
    """`compare` takes embeddings that `embed --output` stored, by name, and alone without one."""
    many, one = tmp_path / "many.npz", tmp_path / "one.npz"
    run("embed", *files, "--output", str(many))
    run("embed", files[1], "--output", str(one))
    wanted = run("compare", files[0], files[1], "--json")[1]
    found = run("compare", f"{many}#{files[0]}", str(one), "--json")[1]
    similarity = [json.loads(text)["cosine_similarity"] for text in (wanted, found)]
    assert similarity[0] == pytest.approx(similarity[1], abs=1e-6)


@pytest.mark.parametrize(("name", "words"), [("#x", "has 0 embeddings named 'x'"), ("", "has 3")])
def test_compare_not_stored(
    name: str, words: str, run: Any, files: list[str], tmp_path: Path
) -> None:
    """What is not stored, or not by one name, is an error."""
    many = tmp_path / "many.npz"
    run("embed", *files, "--output", str(many))
    status, _, err = run("compare", f"{many}{name}", files[0])
    assert status == 2
    assert words in err


def test_compare_with_no_archive(run: Any, files: list[str], tmp_path: Path) -> None:
    """A file that has no embeddings with their space is refused."""
    other = tmp_path / "other.npz"
    np.savez(other, embeddings=np.zeros((1, 128)))
    status, _, err = run("compare", str(other), files[0])
    assert status == 2
    assert "is no file of embeddings with their space" in err


@pytest.mark.parametrize("command", ["embed", "faces", "matrix"])
def test_many_files_without_server(command: str, run: Any, files: list[str]) -> None:
    """Where no file is answered, the error is all that is said."""
    flags = ("--timeout", "2", "--json")
    status, out, err = run(command, *files, *flags, address="127.0.0.1:1")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
