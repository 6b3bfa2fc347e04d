"""`evaluate` and `calibrate`: what a model is worth on the operator's own faces."""

import argparse
import contextlib
import dataclasses
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from face_embedding_models import regular_files
from face_embedding_server import settings
from face_embedding_server.errors import OperatorError
from face_embedding_server.evaluation import (
    embedding,
    left_out,
    metrics,
    pairs,
    plots,
    remote,
    report,
)
from face_embedding_server.evaluation.calibrating import calibrate
from face_embedding_server.evaluation.embedding import Embedder
from face_embedding_server.evaluation.pairs import Pairs
from face_embedding_server.evaluation.remote import Remote
from face_embedding_server.evaluation.report import Scored
from face_embedding_server.faces.face import Aligned, Detect, Preparation, Selection
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import (
    Calibration,
    Found,
    OperatingPoint,
    SelectionName,
    UprightName,
)

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


# Not all faces of a photograph, of which none would be the one that a pair means.
_SELECTIONS: dict[Selection, SelectionName] = {
    Selection.ONLY: "only",
    Selection.CENTRAL: "central",
    Selection.LARGEST: "largest",
}


class UsageError(OperatorError):
    """Options that do not fit together."""


def add_evaluate_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    add_common_options(command, _evaluate)
    _add_pairs_options(command)
    command.add_argument("--output", type=Path, help="a folder for report.json and the plots")


def add_calibrate_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `calibrate`."""
    add_common_options(command, _calibrate)
    _add_pairs_options(command)
    command.add_argument("--output", type=Path, required=True, help="the file to write, JSON")
    command.add_argument(
        "--rates",
        type=_rates,
        metavar="RATE,…",
        help="false match rates, such as 1e-2,1e-3; default: each that the pairs support",
    )


def add_common_options(command: argparse.ArgumentParser, run: Any) -> None:
    """Add what all commands have that embed many images, and what runs the command."""
    command.add_argument("--store", type=Path, help="the folder with the models")
    command.add_argument(
        "--detect", action="store_true", help="the images are photographs, not aligned faces"
    )
    command.add_argument(
        "--select",
        choices=_SELECTIONS.values(),
        help="of several faces in a photograph: 'only' leaves the photograph out and names it, "
        "'central' takes a large one in the middle, 'largest' the one with the largest box "
        "(default with --detect: only)",
    )
    command.add_argument(
        "--upright",
        choices=("as_is", "auto"),
        help="what to do about photographs that are sideways: nothing, or turn by quarters those "
        "in which no face is found for sure (default with --detect: as_is)",
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
    try:
        return [float(rate) for rate in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no list of rates with commas, such as 1e-2,1e-3"
        ) from None


def _check_folder(folder: Path) -> None:
    """Refuse, before any work, a folder that could not be written to after it, or made.

    Raises:
        UsageError: if that is so.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UsageError(f"{folder} is no folder that can be written to")


def preparation_of(options: argparse.Namespace) -> Preparation:
    """Return what the images show, and which face of a photograph is taken.

    Raises:
        UsageError: if aligned faces are to be treated as photographs.
    """
    for name in ("select", "upright"):
        if getattr(options, name) and not options.detect:
            raise UsageError(f"--{name} needs --detect")
    if not options.detect:
        return Aligned()
    selection = Selection[options.select.upper()] if options.select else Selection.ONLY
    return Detect(selection, upright=options.upright == "auto")


def found_by(detector: str, preparation: Preparation) -> Found:
    """Return how faces are found that are prepared so, in the words of the options."""
    if not isinstance(preparation, Detect):
        return Found()
    upright: UprightName = "auto" if preparation.upright else "as_is"
    return Found(detector, _SELECTIONS[preparation.selection], upright)


def _evaluate(options: argparse.Namespace) -> int:
    preparation = preparation_of(options)
    if options.output:
        _check_folder(options.output)
    given = _read_pairs(options)
    with _embedder(options) as embedder:
        straight, mirrored = (
            embedding.embed_images(embedder, given.images, preparation=preparation, mirror=mirror)
            for mirror in (False, True)
        )
        plain = report.score(given, straight)
        flipped = report.score(given, straight.with_mirror_images(mirrored))
        found = found_by(embedder.info.detector, preparation)
        document = report.evaluate(embedder, plain, flipped, found)
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
        text = json.dumps(document, indent=2) + "\n"
        regular_files.replace(folder / "report.json", text.encode())
        plots.draw_roc(curve, title, folder / "roc.png")
        plots.draw_det(curve, title, folder / "det.png")
        plots.draw_histogram(scored.scores, scored.same, threshold, title, folder / "histogram.png")
    except OSError as error:
        raise UsageError(f"the report cannot be written to {folder}: {error}") from error


def _calibrate(options: argparse.Namespace) -> int:
    preparation = preparation_of(options)
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise UsageError(f"--output {options.output} is no file in a folder that is there")
    for name in ("pairs", "lfw_bin", "protocol"):
        read: Path | None = getattr(options, name)
        if read and read.exists() and options.output.exists() and options.output.samefile(read):
            raise UsageError(f"--output {options.output} is what is read as --{_flag(name)}")
    _check_folder(options.output.parent)
    given = _read_pairs(options)
    with _embedder(options) as embedder:
        embedded = embedding.embed_images(embedder, given.images, preparation=preparation)
        scored = report.score(given, embedded)
        info = embedder.info
    found = found_by(info.detector, preparation)
    made = dataclasses.replace(
        calibrate(
            scored.scores,
            scored.same,
            info.embedding_space,
            options.rates,
            own=(scored.own_same, scored.own_different),
        ),
        **found._asdict(),
        pairs_left_out=scored.left_out,
        left_out={name: each.reason for name, each in scored.errors.items()},
    )
    operating_points.write(made, options.output)
    if options.json:
        print(options.output.read_text("utf-8"))
    else:
        print(_calibration_text(made, scored, found))
    return 0


def _calibration_text(made: Calibration, scored: Scored, found: Found) -> str:
    def row(point: OperatingPoint) -> str:
        return (
            f"{point.name:<12} {point.threshold:9.4f} "
            f"{point.threshold_low:8.4f} to {point.threshold_high:.4f} "
            f"{point.false_match_rate:8.3%} (≤ {point.false_match_rate_high:.3%}) "
            f"{point.false_non_match_rate:8.3%} (≤ {point.false_non_match_rate_high:.3%})"
        )

    with_images = scored.left_out - scored.repeated * (not scored.uses_repeated)
    return "\n".join(
        [
            f"{made.space}: {made.same_pairs} pairs of one person, {made.different_pairs} of two",
            *left_out.found_lines(found),
            *left_out.pairs_lines(scored.repeated, used=scored.uses_repeated),
            *left_out.lines(scored.errors, scored.images),
            *([f"{with_images} pairs left out with them"] if with_images else []),
            *([made.note] if made.note else []),
            f"{'name':<12} {'threshold':>9} {'undecided':>18} {'false match':>20} "
            f"{'false non-match':>20}",
            *map(row, made.operating_points),
        ]
    )


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
                **common_flags(options),
                "model": options.model,
                "backend": options.backend,
                "precision": options.precision,
            }
        )
    )


def _refuse(names: set[str], why: str) -> None:
    for name in sorted(names):
        raise UsageError(f"--{_flag(name)} {why}")


def _flag(name: str) -> str:
    return name.replace("_", "-")


def common_flags(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that these options name."""
    return {
        "store": options.store,
        "detector": options.detector,
        "detector_precision": options.detector_precision,
        "detector_model": options.detector_model,
    }
