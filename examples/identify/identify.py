"""Tell who somebody is among the people of a gallery, which is one Parquet file.

    python identify.py gallery.parquet enrol anna anna-1.jpg anna-2.jpg
    python identify.py gallery.parquet search somebody.jpg --false-positives 0.01
    python identify.py gallery.parquet forget anna

The files are aligned faces, or photographs with `--detect`. Searching needs a server with a
calibration: see "Storing and searching" in the documentation.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gallery import Gallery

from face_embedding_client import (
    Embedding,
    FaceEmbeddingClient,
    FaceEmbeddingError,
    ModelInfo,
    OperatingPoint,
    Photograph,
)
from face_embedding_client.parquet import NoEmbeddingsError, OtherSpaceError


def main() -> None:
    """Run the example."""
    options = parsed()
    try:
        if options.command == "forget":
            removed = Gallery(options.gallery).forget(options.person)
            print(f"{removed} embeddings of {options.person} are gone")
            return
        with FaceEmbeddingClient(options.address) as client:
            info = client.model_info()
            gallery = Gallery(options.gallery, info)
            faces = [embed(client, file, detect=options.detect) for file in options.files]
        if options.command == "enrol":
            # Bytes of a name that are no text, as escapes.
            names = [
                str(file).encode("utf-8", "backslashreplace").decode() for file in options.files
            ]
            gallery.enrol(options.person, dict(zip(names, faces, strict=True)))
            print(f"{options.person} is enrolled, of {len(gallery.people()[0])} people")
        else:
            print(json.dumps(search(gallery, info, faces, options), indent=2))
    except (FaceEmbeddingError, OSError, NoEmbeddingsError, OtherSpaceError, LookupError) as error:
        sys.exit(f"identify.py: {error}")


def parsed() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gallery", type=Path, help="the .parquet file of enrolled people")
    commands = parser.add_subparsers(dest="command", required=True)
    enrol = commands.add_parser("enrol", help="add photographs of a person")
    enrol.add_argument("person", help="by what the person is found and forgotten")
    find = commands.add_parser("search", help="find out who somebody is")
    find.add_argument(
        "--false-positives",
        type=share,
        default=0.01,
        help="the share of searches for strangers that may find somebody (default: %(default)s)",
    )
    for command in (enrol, find):
        command.add_argument("files", nargs="+", type=Path, metavar="FILE")
        command.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT")
        command.add_argument("--detect", action="store_true", help="the server finds the face")
    forget = commands.add_parser("forget", help="delete all that there is of a person")
    forget.add_argument("person")
    return parser.parse_args()


def share(text: str) -> float:
    """Return a share of searches: more than none, and not all."""
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def embed(client: FaceEmbeddingClient, file: Path, *, detect: bool) -> Embedding:
    """Embed the one face of a file."""
    image = file.read_bytes()
    try:
        face = client.embed(Photograph(image) if detect else image)
    except FaceEmbeddingError as error:
        sys.exit(f"identify.py: {file}: {error}")
    for warning in face.warnings:
        print(f"{file}: warning: {warning.reason}", file=sys.stderr)
    return face


def search(
    gallery: Gallery, info: ModelInfo, faces: list[Embedding], options: argparse.Namespace
) -> dict[str, Any]:
    """Return who the faces are, and how the threshold was chosen."""
    people, templates = gallery.people()
    point = operating_point(info.operating_points, len(people), options.false_positives)
    similarities = np.array([face.values for face in faces]) @ templates.T
    found = [
        {
            "file": str(file),
            "person": people[row.argmax()] if row.max() >= point.threshold else None,
            "similarity": float(row.max()),
        }
        for file, row in zip(options.files, similarities, strict=True)
    ]
    criterion = {
        "operating_point": point.name,
        "threshold": point.threshold,
        "people": len(people),
        "expected_false_positives": false_positives(point.false_match_rate, len(people)),
        "at_most": false_positives(point.false_match_rate_high, len(people)),
    }
    return {"found": found, "criterion": criterion}


def false_positives(false_match_rate: float, people: int) -> float:
    """Return the share of searches for strangers that find one of so many people.

    A stranger is not found if they match nobody: FPIR = 1 - (1 - FMR)^N.
    """
    return float(-np.expm1(people * np.log1p(-false_match_rate)))


def operating_point(
    points: tuple[OperatingPoint, ...], people: int, allowed: float
) -> OperatingPoint:
    """Return the operating point that misses the fewest people and keeps strangers out.

    Raises:
        LookupError: if none does.
    """
    strict = [p for p in points if false_positives(p.false_match_rate, people) <= allowed]
    if strict:
        return min(strict, key=lambda point: point.threshold)
    needed = -np.expm1(np.log1p(-allowed) / people)
    raise LookupError(
        f"no operating point of the server is strict enough for {people} people: a share of "
        f"{allowed:g} needs a false match rate of {needed:.1e}, so calibrate with --rates "
        f"{needed:.1e} and enough pairs for it"
    )


if __name__ == "__main__":
    main()
