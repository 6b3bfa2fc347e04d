"""The command `matrix`: the similarities of all pairs of files."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from face_embedding_client._similarity import cosines
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Embedding
from face_embedding_client.cli import inputs, output
from face_embedding_client.cli.embed import embed_files

_COLUMN_CHARACTERS = 12
_PICTURE_CHARACTERS = 24


def matrix(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    """Compare all pairs of files; print the similarities, and draw them if asked to."""
    files = inputs.files_of(options)
    if options.output:
        output.check_output(options.output, ".png", inputs=files)
        draw_matrix = output.drawing().draw_matrix
    outcomes = embed_files(client, files, options)
    embeddings: list[tuple[str, Embedding]] = []
    for name, outcome in outcomes:
        if isinstance(outcome, Embedding):
            embeddings.append((name, outcome))
            output.print_warnings(name, outcome.warnings)
        else:
            output.print_failure(name, outcome)
    names = [name for name, _ in embeddings]
    similarities = _similarities([embedding for _, embedding in embeddings])
    if options.output and names:
        draw_matrix(short_names(names, _PICTURE_CHARACTERS), similarities, options.output)
    if options.json:
        facts = {"names": names, "cosine_similarity": similarities.tolist()}
        print(json.dumps(facts, indent=2))
    else:
        labels = short_names(list(map(output.on_a_line, names)), _COLUMN_CHARACTERS)
        _print(labels, similarities)
    return int(len(names) < len(outcomes))


def _similarities(embeddings: Sequence[Embedding]) -> NDArray[np.float64]:
    if not embeddings:
        return np.zeros((0, 0))
    values = np.array([embedding.values for embedding in embeddings])
    return np.stack([cosines(row, values) for row in values])


def _print(labels: Sequence[str], similarities: NDArray[np.float64]) -> None:
    if not labels:
        return
    width = max(len("+0.0000"), *map(len, labels))
    print(" ".join([" " * width, *(label.rjust(width) for label in labels)]))
    for label, row in zip(labels, similarities, strict=True):
        print(" ".join([label.ljust(width), *(f"{value:+.4f}".rjust(width) for value in row)]))


def short_names(names: Sequence[str], length: int) -> list[str]:
    """Return file names for a table: without what they share, and cut in the middle."""
    paths = [os.path.abspath(name) for name in names]  # noqa: PTH100  # Links stay as they are.
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""  # noqa: PTH120
    short = [PurePath(path).relative_to(folder) for path in paths]
    stems = [str(path.with_suffix("")) for path in short]
    unambiguous = len(set(stems)) == len(set(short))
    labels = stems if unambiguous else [str(path) for path in short]
    return [_cut(label, length) for label in labels]


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    tail = length // 2
    return f"{text[: length - tail - 1]}…{text[-tail:]}"
