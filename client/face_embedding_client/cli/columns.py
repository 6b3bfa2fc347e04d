"""The .parquet file of `embed`, with the schema of `face_embedding_client.parquet`.

Needs pyarrow; so this is imported where such a file is wanted.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from face_embedding_client import parquet
from face_embedding_client._types import Embedding, ModelInfo
from face_embedding_client.cli import output
from face_embedding_client.cli.kept import Answers
from face_embedding_client.cli.writing import replaced


def write(path: Path, outcomes: Iterable[tuple[Path, Answers]], info: ModelInfo) -> None:
    """Write what became of files.

    Args:
        path: the .parquet file.
        outcomes: the files with what became of them, in order.
        info: the model that embedded all of them.
    """
    schema = parquet.schema(
        info.embedding_size,
        space=info.embedding_space,
        model=info.name,
        model_version=info.model_version,
    )
    rows = (row for file, answers in outcomes for row in _rows(file, answers))
    with replaced(path) as file, parquet.writer(file, schema) as writer:
        while group := list(islice(rows, parquet.GROUP_ROWS)):
            writer.write_batch(parquet.record_batch(group, schema))


def _rows(file: Path, answers: Answers) -> Iterator[dict[str, Any]]:
    for number, answer in enumerate(answers):
        if isinstance(answer, Embedding):
            yield {
                "file": _text(str(file)),
                "face": number,
                "embedding": answer.values,
                "norm": answer.norm,
                "model_version": answer.model_version,
                "precision": answer.precision,
                "faces_found": answer.faces_found,
                **output.preparation_row(answer),
            }
        else:
            error = output.failure_row("", answer)["error"]
            yield {
                "file": _text(str(file)),
                "error_reason": error["reason"],
                "error_message": error["message"],
            }


def _text(name: str) -> str:
    """Return a name as text, which Parquet wants: bytes that are none as escapes, as printed."""
    return name.encode("utf-8", "backslashreplace").decode()


def rows_of(path: Path, name: str) -> list[int]:
    """Return the numbers of the faces of a file, of `FILE#NUMBER`, or of all if the name is empty.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no such file.
    """
    wanted = _text(name)
    known = (
        (file, f"{file}#{face}")
        for batch in parquet.StoredEmbeddings(path).faces(["file", "face"])
        for file, face in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    return [number for number, names in enumerate(known) if not name or wanted in names]


def read(path: Path, row: int) -> Embedding:
    """Return the embedding of a numbered face."""
    stored = parquet.StoredEmbeddings(path)
    for batch in stored.faces(["embedding", "norm"]):
        if row < len(batch):
            norm = batch.column("norm")[row].as_py()
            return Embedding(parquet.vectors(batch)[row], norm, stored.space)
        row -= len(batch)
    raise IndexError(f"{path} has no such face")
