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

from face_embedding_client._types import Embedding
from face_embedding_client.cli import output
from face_embedding_client.cli.output import Failure
from face_embedding_client.cli.usage import UsageError
from face_embedding_client.cli.writing import replaced

Named: TypeAlias = tuple[str, Embedding | Failure]

_SUFFIX = ".npz"
_TEXTS = ("names", "model_versions", "precisions", "warnings", "detections")
_FAILURES = ("error_names", "error_reasons", "error_messages")


def write(path: Path, outcomes: Callable[[], Iterable[Named]], space: str, size: int) -> int:
    """Write what became of files; return the number of embeddings.

    Args:
        path: the .npz file.
        outcomes: yields them in order; it is called twice, so that embeddings need not be kept.
        space: the embedding space of all of them.
        size: of an embedding.
    """
    columns = _columns(outcomes())
    count = len(columns["names"])
    with replaced(path) as file, zipfile.ZipFile(file, "w") as archive:
        arrays: dict[str, Any] = {
            name: np.array(columns[name], np.str_) for name in (*_TEXTS, *_FAILURES)
        }
        arrays |= {"space": np.array(space), "norms": np.array(columns["norms"], np.float32)}
        for name, array in arrays.items():
            # NumPy gives each letter four bytes. Embeddings themselves cannot be made smaller.
            packed = zipfile.ZipInfo(f"{name}.npy")
            packed.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(packed, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("embeddings.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, size)}
            np.lib.format.write_array_header_1_0(member, header)
            for _, outcome in outcomes():
                if isinstance(outcome, Embedding):
                    member.write(outcome.values.astype("<f4").tobytes())
    return count


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


def names_embedding(text: str) -> bool:
    """Return whether an argument names an embedding of such a file, `FILE.npz#NAME` or the file."""
    return text.endswith(_SUFFIX) or f"{_SUFFIX}#" in text


def read(text: str) -> Embedding:
    """Return the embedding that `FILE.npz#NAME` names; of a file with one, `FILE.npz` does.

    Raises:
        OSError: if the file cannot be read.
        UsageError: if it is no such file, or has no embedding of that name alone.
    """
    file, _, name = text.partition(f"{_SUFFIX}#")
    path = Path(f"{file.removesuffix(_SUFFIX)}{_SUFFIX}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive["names"].tolist()
            found = [number for number, each in enumerate(names) if not name or each == name]
            if len(found) != 1:
                wanted = f"named '{name}'" if name else "in it: say which as FILE.npz#NAME"
                raise UsageError(f"{path} has {len(found)} embeddings {wanted}")
            (row,) = found
            return Embedding(
                archive["embeddings"][row], float(archive["norms"][row]), str(archive["space"])
            )
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(
            f"{path} is no file of embeddings with their space, as 'embed --output' writes it"
        ) from error
