"""The command `faces`: where the faces of photographs are."""

import argparse
import json
from pathlib import Path
from typing import Any

from face_embedding_client._errors import FaceEmbeddingError
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Detections
from face_embedding_client.cli import output
from face_embedding_client.cli.output import Failure


def faces(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    """Find the faces of photographs; print them, and draw them if asked to."""
    files: list[Path] = options.files
    if options.draw:
        if len(files) != 1:
            raise output.UsageError(f"--draw takes exactly one photograph, not {len(files)}")
        output.check_output(options.draw, ".png")
        draw_faces = output.drawing().draw_faces
    outcomes: list[Detections | Failure] = []
    with output.progress_bar(len(files), "photograph") as bar:
        for file in files:
            try:
                outcomes.append(client.detect(file.read_bytes()))
            except (FaceEmbeddingError, OSError) as error:
                outcomes.append(output.of_one_file(error))
            bar.update()
    named = list(zip(map(str, files), outcomes, strict=True))
    if options.json:
        print(json.dumps([_row(name, outcome) for name, outcome in named], indent=2))
    else:
        for name, outcome in named:
            _print(name, outcome)
    if options.draw and isinstance(outcomes[0], Detections):
        draw_faces(files[0].read_bytes(), outcomes[0], options.draw)
    return int(not all(isinstance(found, Detections) and found.faces for found in outcomes))


def _row(name: str, found: Detections | Failure) -> dict[str, Any]:
    if not isinstance(found, Detections):
        return output.failure_row(name, found)
    detections = [output.detection_row(face) for face in found.faces]
    return {"name": name, "width": found.width, "height": found.height, "detections": detections}


def _print(name: str, found: Detections | Failure) -> None:
    if not isinstance(found, Detections):
        output.print_failure(name, found)
        return
    count = len(found.faces)
    number = {0: "no face", 1: "1 face"}.get(count, f"{count} faces")
    print(f"{name}: {found.width}×{found.height}, {number}")
    for index, face in enumerate(found.faces):
        points = output.landmark_points(face.landmarks).items()
        where = ", ".join(f"{part.replace('_', ' ')} {x:.0f} {y:.0f}" for part, (x, y) in points)
        print(f"  #{index} score {face.score:.3f}, {output.box_words(face)}; {where}")
