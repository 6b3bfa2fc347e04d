"""The command `faces`: where the faces of photographs are."""

import argparse
from pathlib import Path
from typing import Any

from face_embedding_client._errors import FaceEmbeddingError
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Detections
from face_embedding_client.cli import inputs, output
from face_embedding_client.cli.output import Failure
from face_embedding_client.cli.reading import read_image
from face_embedding_client.cli.reporting import Report
from face_embedding_client.cli.usage import UsageError


def faces(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    """Find the faces of photographs; print them, and draw them if asked to."""
    files = inputs.files_of(options)
    if options.draw:
        if len(files) != 1:
            raise UsageError(f"--draw takes exactly one photograph, not {len(files)}")
        output.check_output(options.draw, ".png", inputs=files)
        draw_faces = output.drawing().draw_faces
    most_bytes = client.model_info().max_encoded_bytes
    without = 0
    with (
        Report(files, _row, _print, as_json=options.json) as report,
        output.progress_bar(len(files), "photograph") as bar,
    ):
        for number, file in enumerate(files):
            data, found = _find(client, file, most_bytes, options)
            report.add(number, [(str(file), found)])
            if options.draw and isinstance(found, Detections):
                draw_faces(data, found, options.draw)
            without += not (isinstance(found, Detections) and found.faces)
            bar.update()
    return int(without > 0)


def _find(
    client: FaceEmbeddingClient, file: Path, most_bytes: int, options: argparse.Namespace
) -> tuple[bytes, Detections | Failure]:
    """Return what is in a file, and the faces in it."""
    data = b""
    try:
        data = read_image(file, lambda: most_bytes)
        return data, client.detect(data, upright=options.upright or "auto", outlast=True)
    except (FaceEmbeddingError, OSError) as error:
        return data, output.of_one_file(error)


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
    turned = output.turned_words(found.faces[0]) if found.faces else ""
    print(f"{output.on_a_line(name)}: {found.width}×{found.height}, {number}{turned}")
    for index, face in enumerate(found.faces):
        points = output.landmark_points(face.landmarks).items()
        where = ", ".join(f"{part.replace('_', ' ')} {x:.0f} {y:.0f}" for part, (x, y) in points)
        print(f"  #{index} score {face.score:.3f}, {output.box_words(face)}; {where}")
