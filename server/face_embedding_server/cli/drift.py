"""`drift`: whether a change of model, backend or precision changes decisions."""

import argparse
import json
from pathlib import Path

from face_embedding_models.openvino.precision import DRIFT_THRESHOLD
from face_embedding_server import settings
from face_embedding_server.cli.evaluation import (
    UsageError,
    add_common_options,
    common_flags,
    found_by,
    preparation_of,
)
from face_embedding_server.evaluation import change, embedding, folders, left_out
from face_embedding_server.evaluation.change import Change
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import Calibration

EXIT_NO = 1


def add_drift_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `drift`."""
    add_common_options(command, _drift)
    for name in ("before", "after"):
        command.add_argument(name, metavar=name.upper(), help="MODEL[:BACKEND[:PRECISION]]")
    command.add_argument("--images", type=Path, required=True, help="a folder of images")
    command.add_argument("--calibration", type=Path, help="decide at its operating points")
    command.add_argument(
        "--threshold",
        type=float,
        default=DRIFT_THRESHOLD,
        help="decide at this similarity, without a calibration (default: %(default)s)",
    )


def _drift(options: argparse.Namespace) -> int:
    preparation = preparation_of(options)
    calibrated = operating_points.read(options.calibration) if options.calibration else None
    criteria = _criteria(options, calibrated)
    try:
        images, unused = folders.read(options.images)
    except OSError as error:
        raise UsageError(f"the images in {options.images} cannot be read: {error}") from error
    embedded, infos = [], []
    for side in (options.before, options.after):
        with embedding.in_process(_settings_of(side, options)) as embedder:
            files = list(images.values())
            embedded.append(embedding.embed_images(embedder, files, preparation=preparation))
            infos.append(embedder.info)
    spaces = [info.embedding_space for info in infos]
    where = found_by(infos[0].detector, preparation)
    if calibrated:
        calibrated.check(spaces[0])
    doubts = list(calibrated.doubts_of(where)) if calibrated else []
    before, after = embedded
    names = list(images)
    found = change.measure(before, after, criteria, same_space=spaces[0] == spaces[1], names=names)
    unused |= change.left_out(before, after, names)
    if options.json:
        document = found.as_json() | {
            "detector": infos[0].detector,
            "selection": where.selection,
            "upright": where.upright,
            "doubts": doubts,
            "images": len(images.keys() | unused),
            **left_out.as_json(unused),
        }
        print(json.dumps(document, indent=2))
    else:
        said = left_out.found_lines(where)
        said += left_out.lines(unused, len(images.keys() | unused))
        said += [f"warning: {doubt}" for doubt in doubts]
        print("\n".join([*_drift_lines(options, found), *said, found.verdict]))
    return 0 if found.keeps_stored_embeddings else EXIT_NO


def _criteria(
    options: argparse.Namespace, calibrated: Calibration | None
) -> dict[str, tuple[float, float]]:
    """Return by name the similarities below which faces do not match, and from which on they do."""
    if not calibrated:
        if not -1 <= options.threshold <= 1:
            raise UsageError(f"--threshold {options.threshold} is no cosine similarity, -1 to 1")
        return {"threshold": (options.threshold, options.threshold)}
    points = calibrated.operating_points
    if not points:
        raise UsageError(f"{options.calibration} has no operating point to decide at")
    return {point.name: (point.threshold_low, point.threshold_high) for point in points}


def _drift_lines(options: argparse.Namespace, found: Change) -> list[str]:
    lines = [
        f"from {options.before} to {options.after}: {found.faces} faces, {found.pairs} pairs",
        f"similarity of a pair: changes by {found.mean_score_change:.5f} on average, "
        f"{found.max_score_change:.5f} at most",
    ]
    if found.same_space:
        lines.insert(
            1,
            f"cosine of a face's two embeddings: {found.mean_cosine:.5f} on average, "
            f"{found.min_cosine:.5f} at least",
        )
    for name, flips in found.flips.items():
        mixed = "" if flips.mixed is None else f", {flips.mixed} flips of stored against new"
        lines.append(
            f"{name} (similarity {flips.low:.4f} to {flips.high:.4f}): {flips.new_matches} new "
            f"matches, "
            f"{flips.lost_matches} lost{mixed}"
        )
    return lines


def _settings_of(side: str, options: argparse.Namespace) -> settings.Settings:
    """Return the settings of MODEL[:BACKEND[:PRECISION]]."""
    names = ("model", "backend", "precision")
    parts = side.split(":")
    if len(parts) > len(names) or not all(parts):
        raise UsageError(f"'{side}' is not of the form MODEL[:BACKEND[:PRECISION]]")
    return settings.load({**common_flags(options), **dict(zip(names, parts, strict=False))})
