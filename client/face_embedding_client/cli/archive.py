"""The .npz file of `embed`: embeddings with all that is needed to compare them later.

| Array | Shape | What |
|---|---|---|
| `names` | `[faces]` | the file, with `--select all` and the number of the face |
| `embeddings` | `[faces, size]` | float32, of length 1 |
| `norms` | `[faces]` | float32, the L2 norm before normalisation |
| `space` | `[]` | the embedding space, one for all |
| `model_versions`, `precisions` | `[faces]` | what made the embedding |
| `warnings`, `detections` | `[faces]` | JSON as `embed --json` has it |
| `error_names`, `error_reasons`, `error_messages` | `[failures]` | files without an embedding |
"""

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from face_embedding_client._types import Embedding, ModelInfo
from face_embedding_client.cli import output
from face_embedding_client.cli.kept import Answers
from face_embedding_client.cli.output import Failure
from face_embedding_client.cli.writing import replaced

Named: TypeAlias = tuple[str, Embedding | Failure]

_TEXTS = ("names", "model_versions", "precisions", "warnings", "detections")
_FAILURES = ("error_names", "error_reasons", "error_messages")


def write(path: Path, outcomes: Callable[[], Iterable[Named]], info: ModelInfo) -> None:
    """Write what became of files.

    Args:
        path: the .npz file.
        outcomes: yields them in order; it is called twice, so that embeddings need not be kept.
        info: the model that embedded all of them.
    """
    columns = _columns(outcomes())
    shape = (len(columns["names"]), info.embedding_size)
    with replaced(path) as file, zipfile.ZipFile(file, "w") as archive:
        arrays: dict[str, Any] = {
            name: np.array(columns[name], np.str_) for name in (*_TEXTS, *_FAILURES)
        }
        arrays |= {
            "space": np.array(info.embedding_space),
            "norms": np.array(columns["norms"], np.float32),
        }
        for name, array in arrays.items():
            # NumPy gives each letter four bytes. Embeddings themselves cannot be made smaller.
            packed = zipfile.ZipInfo(f"{name}.npy")
            packed.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(packed, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("embeddings.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for _, outcome in outcomes():
                if isinstance(outcome, Embedding):
                    member.write(outcome.values.astype("<f4").tobytes())


def named(file: Path, answers: Answers, *, several: bool) -> list[Named]:
    """Name what became of a file; if it may have several faces, those by their number."""
    return [
        (f"{file}#{number}" if several and isinstance(answer, Embedding) else str(file), answer)
        for number, answer in enumerate(answers)
    ]


def _columns(outcomes: Iterable[Named]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = defaultdict(list)
    for name, outcome in outcomes:
        if isinstance(outcome, Embedding):
            prepared = output.preparation_row(outcome)
            row = {
                "names": name,
                "norms": outcome.norm,
                "model_versions": outcome.model_version,
                "precisions": outcome.precision,
                "warnings": json.dumps(prepared["warnings"]),
                "detections": json.dumps(prepared["detection"]),
            }
        else:
            error = output.failure_row(name, outcome)["error"]
            row = dict(zip(_FAILURES, (name, error["reason"], error["message"]), strict=True))
        for key, value in row.items():
            columns[key].append(value)
    return columns


def rows_of(path: Path, name: str) -> list[int]:
    """Return the numbers of the embeddings of a name, or of all if it is empty.

    Raises:
        OSError: if it cannot be read.
        ValueError, KeyError, EOFError, zipfile.BadZipFile: if it is no such file.
    """
    with np.load(path, allow_pickle=False) as archive:
        names = archive["names"].tolist()
    return [number for number, each in enumerate(names) if not name or each == name]


def read(path: Path, row: int) -> Embedding:
    """Return the embedding of a number."""
    with np.load(path, allow_pickle=False) as archive:
        return Embedding(
            archive["embeddings"][row], float(archive["norms"][row]), str(archive["space"])
        )
