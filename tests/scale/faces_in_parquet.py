"""Faces to search in, some that are real among very many that are not, and how examples run."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from face_embedding_client import parquet
from support.processes import child_environment

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
_PAGE = ROOT / "docs" / "stored.md"


def write(path: Path, faces: Mapping[str, np.ndarray], space: str, *, strangers: int = 0) -> Path:
    """Write faces by their names, and behind them strangers' random ones; all of length 1."""
    size = len(next(iter(faces.values())))
    schema = parquet.schema(size, space=space, model="a-model", model_version="1")
    random = np.random.default_rng(0)
    with parquet.writer(path, schema) as writer:
        writer.write_batch(parquet.record_batch([_row(*face) for face in faces.items()], schema))
        for first in range(0, strangers, parquet.GROUP_ROWS):
            count = min(parquet.GROUP_ROWS, strangers - first)
            vectors = random.normal(size=(count, size)).astype(np.float32)
            rows = [_row(f"stranger-{first + n}", face) for n, face in enumerate(vectors)]
            writer.write_batch(parquet.record_batch(rows, schema))
    return path


def _row(name: str, vector: np.ndarray) -> dict[str, object]:
    norm = float(np.linalg.norm(vector))
    return {"file": name, "face": 0, "embedding": vector / norm, "norm": norm, "warnings": []}


def python(*command: object) -> list[str]:
    """Return the command that runs an example."""
    script, *arguments = map(str, command)
    return [sys.executable, str(EXAMPLES / script), *arguments]


def shown(words: str) -> list[str]:
    """Return the commands that the documentation shows and that have some words in them."""
    lines = _PAGE.read_text("utf-8").splitlines()
    found = [line for line in lines if words in line and line.startswith(("python ", "psql "))]
    assert found, f"{_PAGE} shows no command with '{words}'"
    return found


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is shown, in a folder that has the examples."""
    link = folder / "examples"
    if not link.exists():
        link.symlink_to(EXAMPLES)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": path, **child_environment(), **variables},
    )
