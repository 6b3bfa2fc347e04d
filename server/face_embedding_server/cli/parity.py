"""`parity`: check that OpenVINO and the reference give the same embeddings."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from face_embedding_models.formats import REFERENCE_BACKENDS
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_server import settings
from face_embedding_server.cli.models import add_common_options
from face_embedding_server.evaluation import left_out, parity
from face_embedding_server.evaluation.left_out import LeftOut
from face_embedding_server.evaluation.parity import Report
from face_embedding_server.faces.reader import FaceReader
from face_embedding_server.inference import backends

EXIT_NO = 1
_CANDIDATE_BACKEND = "openvino"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--model", required=True, help="the model's name")
    parser.add_argument(
        "--images", type=Path, help="a folder of aligned faces; default: drawn ones"
    )
    add_common_options(parser)
    parser.set_defaults(run=_parity)


def _parity(options: argparse.Namespace) -> int:
    stored = Store(settings.store_root(options.store)).get(options.model)
    size = stored.manifest.input
    unused: dict[str, LeftOut] = {}
    if options.images:
        faces, unused = parity.read_faces(options.images, FaceReader.of(size))
    else:
        faces = sample_faces(size.width, size.height)
    reference = backends.load(REFERENCE_BACKENDS[stored.manifest.format], stored, "f32")
    candidate = backends.load(_CANDIDATE_BACKEND, stored, "f32")
    report = parity.run(reference, candidate, faces, stored.manifest.parity)
    reference.close()
    candidate.close()
    if options.json:
        document = {"model": options.model, **report.as_json(), **left_out.as_json(unused)}
        print(json.dumps(document, indent=2))
    else:
        _print_parity(report, left_out.lines(unused, len(faces) + len(unused)))
    return 0 if report.passed else EXIT_NO


def _print_parity(report: Report, unused: Sequence[str]) -> None:
    straight, swapped = report.straight, report.swapped
    print(f"{'face':<24} {'cosine':>12} {'max abs difference':>20}")
    for face in straight.faces:
        print(f"{face.name:<24} {face.cosine:12.9f} {face.max_abs_difference:20.3g}")
    print(
        f"\nall {len(straight.faces)} faces: cosine at least {straight.min_cosine:.9f} "
        f"(tolerance {straight.tolerances.min_cosine}), difference at most "
        f"{straight.max_abs_difference:.3g}, in units of the embedding's RMS "
        f"{straight.max_scaled_difference:.3g} (tolerance "
        f"{straight.tolerances.max_scaled_difference:g})"
    )
    seen = "is noticed" if report.channel_order_proven else "IS NOT NOTICED"
    print(f"red and blue swapped: cosine at least {swapped.min_cosine:.6f}, the swap {seen}")
    print("\n".join([*unused, "parity: passed" if report.passed else "parity: FAILED"]))
