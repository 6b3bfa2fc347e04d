"""`evaluate`, `calibrate` and `drift`: what a model is worth on the operator's own faces."""

import argparse
import contextlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from face_embedding_models import regular_files
from face_embedding_models.openvino.precision import DRIFT_THRESHOLD
from face_embedding_server import settings
from face_embedding_server.errors import OperatorError
from face_embedding_server.evaluation import (
    change,
    embedding,
    metrics,
    pairs,
    plots,
    remote,
    report,
)
from face_embedding_server.evaluation.calibrating import calibrate
from face_embedding_server.evaluation.change import Change
from face_embedding_server.evaluation.embedding import Embedder
from face_embedding_server.evaluation.pairs import Pairs
from face_embedding_server.evaluation.remote import Remote
from face_embedding_server.evaluation.report import Scored
from face_embedding_server.faces.images import image_files
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import Calibration, OperatingPoint

EXIT_NO = 1
# What each source of pairs needs beside it.
_TOGETHER = (
    ("pairs", "images", "the folder of its images"),
    ("lfw", "protocol", "the file of its pairs, such as pairs.txt"),
)
_OF_A_MODEL_HERE = {
    "store",
    "backend",
    "precision",
    "detector",
    "detector_precision",
    "detector_model",
}
_OF_A_SERVER = {each.name for each in fields(Remote)} - {"address", "model"}


class UsageError(OperatorError):
    """Options that do not fit together."""


def add_evaluate_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    _add_common_options(command, _evaluate)
    _add_pairs_options(command)
    command.add_argument("--output", type=Path, help="a folder for report.json and the plots")


def add_calibrate_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `calibrate`."""
    _add_common_options(command, _calibrate)
    _add_pairs_options(command)
    command.add_argument("--output", type=Path, required=True, help="the file to write, JSON")
    command.add_argument(
        "--rates",
        type=_rates,
        metavar="RATE,…",
        help="false match rates, such as 1e-2,1e-3; default: each that the pairs support",
    )


def add_drift_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `drift`."""
    _add_common_options(command, _drift)
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


def _add_common_options(command: argparse.ArgumentParser, run: Any) -> None:
    command.add_argument("--store", type=Path, help="the folder with the models")
    command.add_argument(
        "--detect", action="store_true", help="the images are photographs, not aligned faces"
    )
    command.add_argument("--detector", help="what finds the faces")
    command.add_argument("--detector-precision", help="the precision of the detector's networks")
    command.add_argument("--detector-model", type=Path, help="the detector's model")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run)


def _add_pairs_options(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--lfw-bin", type=Path, metavar="FILE", help="pairs as InsightFace's")
    source.add_argument("--pairs", type=Path, metavar="FILE", help="a CSV: first,second,same")
    source.add_argument(
        "--lfw", type=Path, metavar="FOLDER", help="LFW as distributed: NAME/NAME_0001.jpg"
    )
    command.add_argument(
        "--protocol", type=Path, metavar="FILE", help="the pairs and folds of --lfw: its pairs.txt"
    )
    command.add_argument("--images", type=Path, help="the folder of the images of --pairs")
    command.add_argument("--model", help="the model; with --address one of the server's")
    command.add_argument("--backend", help="the inference engine of --model")
    command.add_argument("--precision", help="the precision of --model")
    remote.add_options(command)


def _rates(text: str) -> list[float]:
    return [float(rate) for rate in text.split(",")]


def _evaluate(options: argparse.Namespace) -> int:
    given = _read_pairs(options)
    with _embedder(options) as embedder:
        straight, mirrored = (
            embedding.embed_images(embedder, given.images, detect=options.detect, mirror=mirror)
            for mirror in (False, True)
        )
        plain = report.score(given, straight)
        flipped = report.score(given, straight.with_mirror_images(mirrored))
        document = report.evaluate(embedder, plain, flipped)
    if options.output:
        _write_report(document, plain, options.output)
    print(json.dumps(document, indent=2) if options.json else report.text(document))
    return 0


def _write_report(document: dict[str, Any], scored: Scored, folder: Path) -> None:
    curve = metrics.roc(scored.scores, scored.same)
    title = f"{document['model']}, {document['backend']} {document['precision']}"
    threshold = metrics.equal_error(curve).threshold
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        plots.draw_roc(curve, title, folder / "roc.png")
        plots.draw_det(curve, title, folder / "det.png")
        plots.draw_histogram(scored.scores, scored.same, threshold, title, folder / "histogram.png")
    except OSError as error:
        raise UsageError(f"the report cannot be written to {folder}: {error}") from error


def _calibrate(options: argparse.Namespace) -> int:
    given = _read_pairs(options)
    with _embedder(options) as embedder:
        embedded = embedding.embed_images(embedder, given.images, detect=options.detect)
        scored = report.score(given, embedded)
        space = embedder.info.embedding_space
    made = calibrate(scored.scores, scored.same, space, options.rates)
    operating_points.write(made, options.output)
    print(options.output.read_text("utf-8") if options.json else _calibration_text(made))
    return 0


def _calibration_text(made: Calibration) -> str:
    def row(point: OperatingPoint) -> str:
        return (
            f"{point.name:<12} {point.threshold:9.4f} "
            f"{point.threshold_low:8.4f} to {point.threshold_high:.4f} "
            f"{point.false_match_rate:8.3%} (≤ {point.false_match_rate_high:.3%}) "
            f"{point.false_non_match_rate:8.3%} (≤ {point.false_non_match_rate_high:.3%})"
        )

    return "\n".join(
        [
            f"{made.space}: {made.same_pairs} pairs of one person, {made.different_pairs} of two",
            f"{'name':<12} {'threshold':>9} {'undecided':>18} {'false match':>20} "
            f"{'false non-match':>20}",
            *map(row, made.operating_points),
        ]
    )


def _drift(options: argparse.Namespace) -> int:
    images = _read_images(options.images)
    embedded, spaces = [], []
    for side in (options.before, options.after):
        with embedding.in_process(_settings_of(side, options)) as embedder:
            embedded.append(embedding.embed_images(embedder, images, detect=options.detect))
            spaces.append(embedder.info.embedding_space)
    criteria = {"threshold": (options.threshold, options.threshold)}
    if options.calibration:
        calibrated = operating_points.read(options.calibration)
        calibrated.check(spaces[0])
        points = calibrated.operating_points
        criteria = {point.name: (point.threshold_low, point.threshold_high) for point in points}
    before, after = embedded
    found = change.measure(before, after, criteria, same_space=spaces[0] == spaces[1])
    print(json.dumps(found.as_json(), indent=2) if options.json else _drift_text(options, found))
    return 0 if found.keeps_stored_embeddings else EXIT_NO


def _drift_text(options: argparse.Namespace, found: Change) -> str:
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
    return "\n".join([*lines, found.verdict])


def _read_pairs(options: argparse.Namespace) -> Pairs:
    for source, other, what in _TOGETHER:
        if getattr(options, source) and not getattr(options, other):
            raise UsageError(f"--{source} needs {what}: give --{other}")
        if getattr(options, other) and not getattr(options, source):
            raise UsageError(f"--{other} needs --{source}")
    if options.lfw:
        return pairs.read_lfw_folder(options.lfw, options.protocol)
    if options.lfw_bin:
        return pairs.read_lfw(options.lfw_bin)
    return pairs.read_table(options.pairs, options.images)


def _read_images(folder: Path) -> list[bytes]:
    try:
        return [regular_files.read(file, regular_files.DATA_BYTES) for file in image_files(folder)]
    except OSError as error:
        raise UsageError(f"the images in {folder} cannot be read: {error}") from error


def _embedder(options: argparse.Namespace) -> contextlib.AbstractContextManager[Embedder]:
    given = {name for name, value in vars(options).items() if value}
    if options.address:
        _refuse(given & _OF_A_MODEL_HERE, "is the server's choice with --address")
        return remote.of_server(remote.from_options(options))
    _refuse(given & _OF_A_SERVER, "needs --address")
    if not options.model:
        raise UsageError("give --model NAME to load a model here, or --address of a server")
    return embedding.in_process(
        settings.load(
            {
                **_common_flags(options),
                "model": options.model,
                "backend": options.backend,
                "precision": options.precision,
            }
        )
    )


def _refuse(names: set[str], why: str) -> None:
    for name in sorted(names):
        raise UsageError(f"--{name.replace('_', '-')} {why}")


def _settings_of(side: str, options: argparse.Namespace) -> settings.Settings:
    """Return the settings of MODEL[:BACKEND[:PRECISION]]."""
    names = ("model", "backend", "precision")
    parts = side.split(":")
    if len(parts) > len(names) or not all(parts):
        raise UsageError(f"'{side}' is not of the form MODEL[:BACKEND[:PRECISION]]")
    return settings.load({**_common_flags(options), **dict(zip(names, parts, strict=False))})


def _common_flags(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "store": options.store,
        "detector": options.detector,
        "detector_precision": options.detector_precision,
        "detector_model": options.detector_model,
    }
