"""Parquet files of embeddings: what is in them, and what reads them."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from full_disk import full_disk

import face_embedding_client
from face_embedding_client import Embedding, FaceEmbeddingClient, parquet
from face_embedding_client.cli import columns
from face_embedding_client.cli.usage import UsageError
from face_embedding_client.parquet import NoEmbeddingsError, OtherSpaceError, StoredEmbeddings
from support import encode

SPACE = "a-space"


@pytest.fixture
def files(tmp_path: Path, couple: bytes) -> list[str]:
    """A photograph of two faces, one in which nobody is, and one that is none."""
    contents = [couple, encode(np.zeros((112, 112, 3), np.uint8)), b"junk"]
    names = [tmp_path / f"{number}.jpg" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        name.write_bytes(content)
    return [str(name) for name in names]


def stored(path: Path, rows: list[dict[str, Any]], space: str = SPACE) -> Path:
    """Write rows with embeddings of two numbers."""
    schema = parquet.schema(2, space=space, model="a-model", model_version="1")
    with parquet.writer(path, schema) as writer:
        writer.write_batch(parquet.record_batch(rows, schema))
    return path


def face(file: str, *values: float, number: int = 0) -> dict[str, Any]:
    return {"file": file, "face": number, "embedding": np.array(values, np.float32), "norm": 1.0}


def test_rows(run: Any, files: list[str], tmp_path: Path) -> None:
    """A file has for each face all that `--json` says of it, and for each failure the reason."""
    output = tmp_path / "x.parquet"
    flags = ("--detect", "--select", "all")
    status, _, err = run("embed", *files, *flags, "--output", str(output))
    assert (status, err.splitlines()[-1]) == (1, f"2 of 4 embeddings in {output}")
    said = json.loads(run("embed", *files, *flags, "--json")[1])
    rows = pq.read_table(output).to_pylist()
    assert [(row["file"], row["face"]) for row in rows] == [
        (files[0], 0),
        (files[0], 1),
        (files[1], None),
        (files[2], None),
    ]
    for row, expected in zip(rows[:2], said[:2], strict=True):
        np.testing.assert_array_equal(row["embedding"], np.array(expected["values"], np.float32))
        for name in ("norm", "detection", "warnings"):
            assert singles(row[name]) == singles(expected[name])
        for name in ("model_version", "precision", "faces_found"):
            assert row[name] == expected[name]
        assert (row["error_reason"], row["error_message"]) == (None, None)
    for row, expected in zip(rows[2:], said[2:], strict=True):
        assert row["error_reason"] == expected["error"]["reason"]
        assert row["error_message"] == expected["error"]["message"]
        assert {row[name] for name in ("embedding", "norm", "warnings", "detection")} == {None}


def test_warnings(run: Any, files: list[str], tmp_path: Path) -> None:
    """It has the warnings of a face, and that an aligned one was not looked for."""
    output = tmp_path / "x.parquet"
    assert run("embed", files[1], "--output", str(output))[0] == 0
    (said,) = json.loads(run("embed", files[1], "--json")[1])
    (row,) = pq.read_table(output).to_pylist()
    assert row["warnings"]
    assert singles(row["warnings"]) == singles(said["warnings"])
    assert (row["detection"], row["faces_found"]) == (None, 0)


def singles(value: Any) -> Any:
    """Return numbers as those of 32 bits that they come from."""
    if isinstance(value, dict):
        return {name: singles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [singles(each) for each in value]
    return float(np.float32(value)) if isinstance(value, float) else value


def test_schema(run: Any, files: list[str], tmp_path: Path, client: FaceEmbeddingClient) -> None:
    """Its schema has the size of embeddings, their space, and the model with its version."""
    run("embed", files[0], "--detect", "--select", "all", "--output", str(tmp_path / "x.parquet"))
    info = client.model_info()
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert schema.field("embedding").type == pa.list_(pa.float32())
    assert schema.metadata == {
        parquet.SIZE: str(info.embedding_size).encode(),
        parquet.SPACE: info.embedding_space.encode(),
        parquet.MODEL: info.name.encode(),
        parquet.MODEL_VERSION: info.model_version.encode(),
    }


def test_compare(run: Any, files: list[str], tmp_path: Path) -> None:
    """`compare` takes a face of it by its file and number, and the server compares it."""
    output = tmp_path / "x.parquet"
    run("embed", files[0], "--detect", "--select", "all", "--output", str(output))
    one, other = f"{output}#{files[0]}#0", f"{output}#{files[0]}#1"
    same = json.loads(run("compare", one, one, "--json")[1])["cosine_similarity"]
    different = json.loads(run("compare", one, other, "--json")[1])["cosine_similarity"]
    assert same == pytest.approx(1)
    assert different < 1
    status, _, err = run("compare", str(output), one)
    assert (status, err) == (
        2,
        f"face-embedding: error: {output} has 2 embeddings in it: say which as FILE.parquet#NAME\n",
    )


def test_compare_other_space(run: Any, files: list[str], tmp_path: Path) -> None:
    """The server refuses an embedding of another space by its name."""
    other = stored(tmp_path / "other.parquet", [face("a", 0.6, 0.8)])
    status, _, err = run("compare", str(other), files[1])
    assert status == 1
    assert SPACE in err


@pytest.mark.parametrize("content", ["junk", "other"])
def test_compare_no_embeddings(content: str, run: Any, files: list[str], tmp_path: Path) -> None:
    """A file that is none of embeddings is named."""
    path = tmp_path / "x.parquet"
    if content == "junk":
        path.write_bytes(b"junk")
    else:
        pq.write_table(pa.table({"embedding": [1.0]}), path)
    status, _, err = run("compare", str(path), files[1])
    assert status == 2
    assert f"{path} is no file of embeddings with their space" in err


def test_not_installed(
    run: Any, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow the command says what to install, before it sends anything."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in ("parquet", "cli.columns"):
        monkeypatch.delitem(sys.modules, f"face_embedding_client.{module}", raising=False)
    monkeypatch.delattr(face_embedding_client, "parquet")
    monkeypatch.delattr(face_embedding_client.cli, "columns", raising=False)
    output = str(tmp_path / "x.parquet")
    status, _, err = run("embed", files[0], "--output", output, address="127.0.0.1:1")
    assert status == 2
    assert ".parquet files need pyarrow: pip install 'face-embedding[parquet]'\n" in err


def test_other_suffix(run: Any, files: list[str], tmp_path: Path) -> None:
    """The two formats are named where another is asked for."""
    status, _, err = run("embed", files[0], "--output", str(tmp_path / "x.csv"))
    assert status == 2
    assert "x.csv has to end with .npz or .parquet" in err


def test_reading(tmp_path: Path) -> None:
    """What is read back are the rows with an embedding, without those that failed."""
    rows = [face("a", 0.6, 0.8), {"file": "b", "error_reason": "X"}, face("c", 1, 0, number=1)]
    read = StoredEmbeddings(stored(tmp_path / "x.parquet", rows), SPACE)
    (batch,) = read.faces()
    assert (read.space, read.model, read.model_version, read.size) == (SPACE, "a-model", "1", 2)
    assert batch.column("file").to_pylist() == ["a", "c"]
    assert batch.schema == read.schema
    assert read.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    np.testing.assert_array_equal(
        parquet.vectors(batch), np.array([[0.6, 0.8], [1, 0]], np.float32)
    )


def test_reading_no_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without a face are no batch, as nothing could be searched among them."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    failed = [{"file": "a", "error_reason": "X"}] * 4
    read = StoredEmbeddings(stored(tmp_path / "x.parquet", [*failed, face("b", 1, 0)]))
    assert [parquet.vectors(batch).shape for batch in read.faces()] == [(1, 2)]


def test_reading_columns(tmp_path: Path) -> None:
    """Only the columns that are asked for are read, in their order."""
    read = StoredEmbeddings(stored(tmp_path / "x.parquet", [face("a", 1, 0)]))
    (batch,) = read.faces(["face", "file"])
    assert batch.schema.names == ["face", "file"]


def test_reading_other_space(tmp_path: Path) -> None:
    """A file of another space than the one that is asked for is refused, and both are named."""
    path = stored(tmp_path / "x.parquet", [face("a", 1, 0)])
    with pytest.raises(OtherSpaceError, match=f"embeddings of {SPACE}.* those of b-space"):
        StoredEmbeddings(path, "b-space")


def test_reading_damaged(tmp_path: Path) -> None:
    """A file that is damaged in the middle is named."""
    path = stored(tmp_path / "x.parquet", [face(str(n), 1, 0) for n in range(1000)])
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)  # Behind the file's mark.
    path.write_bytes(data)
    with pytest.raises(NoEmbeddingsError, match=f"{path} is no Parquet file, or is damaged"):
        list(StoredEmbeddings(path).faces())


def test_columns_that_were_added(tmp_path: Path) -> None:
    """A schema with a column of one's own is written and read like any other."""
    schema = parquet.schema(2, space=SPACE, model="").append(pa.field("person", pa.string()))
    with parquet.writer(tmp_path / "x.parquet", schema) as writer:
        writer.write_batch(parquet.record_batch([{**face("a", 1, 0), "person": "p"}], schema))
    (batch,) = StoredEmbeddings(tmp_path / "x.parquet").faces(["person"])
    assert batch.to_pylist() == [{"person": "p"}]


def test_other_size(tmp_path: Path) -> None:
    """An embedding of another size is not written."""
    with pytest.raises(ValueError, match=f"an embedding of {SPACE} has 2 numbers"):
        stored(tmp_path / "x.parquet", [face("a", 1, 0, 0)])


def test_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are read some at a time."""
    path = stored(tmp_path / "x.parquet", [face(str(number), 1, 0) for number in range(5)])
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    assert [len(batch) for batch in StoredEmbeddings(path).faces()] == [2, 2, 1]


def test_full_disk(tmp_path: Path, client: FaceEmbeddingClient) -> None:
    """A disk without room for it leaves an earlier file as it was, and nothing beside it."""
    output = tmp_path / "x.parquet"
    output.write_bytes(b"earlier")
    answers: list[Any] = [Embedding(np.random.default_rng(0).random(4, np.float32), 1, SPACE)]
    outcomes = ((Path(str(number)), answers) for number in range(1000))
    info = dataclasses.replace(client.model_info(), embedding_size=4)
    with pytest.raises(UsageError, match="cannot be written: File too large"), full_disk():
        columns.write(output, outcomes, info)
    assert (output.read_bytes(), list(tmp_path.iterdir())) == (b"earlier", [output])
