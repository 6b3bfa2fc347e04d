"""The command `embed`, and how commands get the embeddings of files."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from face_embedding_client._errors import FaceEmbeddingError
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Embedding, Face, Photograph
from face_embedding_client.cli import output
from face_embedding_client.cli.output import Failure

# A file, or one of its faces, by name with what became of it.
Outcome: TypeAlias = tuple[str, Embedding | Failure]


def embed(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    """Embed files; print the embeddings, or write them to a file."""
    if options.output:
        output.check_output(options.output, ".npz")
    embed_them = _embed_all_faces if options.select == "all" else embed_files
    outcomes = embed_them(client, options)
    if options.json:
        print(json.dumps([_row(*outcome, options) for outcome in outcomes], indent=2))
    else:
        for outcome in outcomes:
            _print(*outcome, options)
    done = [(name, outcome) for name, outcome in outcomes if isinstance(outcome, Embedding)]
    if options.output:
        _write(options.output, done, client.model_info().embedding_size)
        wanted = sum(getattr(outcome, "missing", 1) for _, outcome in outcomes)
        print(f"{len(done)} of {wanted} embeddings in {options.output}", file=sys.stderr)
    return int(len(done) < len(outcomes))


def embed_files(client: FaceEmbeddingClient, options: argparse.Namespace) -> list[Outcome]:
    """Embed one face of each file, and return what became of the files, in their order."""
    files: list[Path] = options.files
    outcomes: dict[int, Embedding | Failure] = {}

    def faces() -> Iterator[tuple[str, Face]]:
        for number, file in enumerate(files):
            try:
                face = face_of(file, options)
            except OSError as error:
                outcomes[number] = error
            else:
                yield str(number), face

    with output.progress_bar(len(files), "face") as bar:
        for number, outcome in client.embed_stream(faces()):
            outcomes[int(number)] = outcome
            bar.update()
    return [(str(file), outcomes[number]) for number, file in enumerate(files)]


def face_of(file: Path, options: argparse.Namespace) -> Face:
    """Read a file as what `--detect` and `--select` say that it is.

    Raises:
        OSError: if it cannot be read.
    """
    data = file.read_bytes()
    return Photograph(data, select=options.select or "only") if options.detect else data


def _embed_all_faces(client: FaceEmbeddingClient, options: argparse.Namespace) -> list[Outcome]:
    """Embed all faces of each file; the faces are named by the file and their number."""
    outcomes: list[Outcome] = []
    with output.progress_bar(len(options.files), "photograph") as bar:
        for file in options.files:
            try:
                embeddings = client.embed_faces(file.read_bytes())
            except (FaceEmbeddingError, OSError) as error:
                outcomes.append((str(file), output.of_one_file(error)))
            else:
                outcomes += [(f"{file}#{number}", face) for number, face in enumerate(embeddings)]
                if embeddings.missing:
                    outcomes.append((str(file), output.FacesMissing(embeddings)))
            bar.update()
    return outcomes


def _row(name: str, outcome: Embedding | Failure, options: argparse.Namespace) -> dict[str, Any]:
    if not isinstance(outcome, Embedding):
        return output.failure_row(name, outcome)
    row = {
        "name": name,
        "norm": outcome.norm,
        "space": outcome.space,
        "model_version": outcome.model_version,
        "precision": outcome.precision,
    }
    row |= output.preparation_row(outcome)
    row["faces_found"] = outcome.faces_found
    return row if options.output else row | {"values": outcome.values.tolist()}


def _print(name: str, outcome: Embedding | Failure, options: argparse.Namespace) -> None:
    if not isinstance(outcome, Embedding):
        output.print_failure(name, outcome)
        return
    parts = [f"{name}: norm {outcome.norm:.3f}"]
    if not options.output:
        parts += [f"{value:+.4f}" for value in outcome.values[:4]] + ["…"]
    if outcome.detection:
        parts.append(f"face {output.box_words(outcome.detection)}")
    print(" ".join(parts))
    output.print_warnings(name, outcome.warnings)


def _write(file: Path, embeddings: list[tuple[str, Embedding]], size: int) -> None:
    values = [embedding.values for _, embedding in embeddings]
    np.savez(
        file,
        names=np.array([name for name, _ in embeddings], np.str_),
        embeddings=np.array(values, np.float32).reshape(-1, size),
    )
