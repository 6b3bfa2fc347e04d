"""The command `face-embedding`.

Exit status: 0 for success, 1 if the answer is no (not serving, no match, undecided, no face, a file
that was refused), 2 for an error, 130 if interrupted (143 by SIGTERM, 129 by SIGHUP), 141 if nobody
reads what is printed.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from face_embedding_client._errors import FaceEmbeddingError, InvalidRequestError
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Comparison, Embedding, Face, PreparedFace
from face_embedding_client.cli import ending, inputs, output
from face_embedding_client.cli.conformance import add_options as add_conformance_options
from face_embedding_client.cli.conformance import conformance
from face_embedding_client.cli.connection import add_options as add_connection_options
from face_embedding_client.cli.connection import connect
from face_embedding_client.cli.embed import embed, side_of
from face_embedding_client.cli.faces import faces
from face_embedding_client.cli.matrix import matrix
from face_embedding_client.cli.usage import UsageError

EXIT_NO = 1
EXIT_ERROR = 2
# As a shell tells of a signal: 128 and its number. That of SIGPIPE is 13.
_EXIT_SIGNAL = 128
EXIT_UNHEARD = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    output.open_streams()
    output.show_anything()
    try:
        with ending.by_signals():
            return _answered(arguments)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, ending.Ended) else signal.SIGINT
        return _EXIT_SIGNAL + number


def _answered(arguments: Sequence[str] | None) -> int:
    """Run the command, whether what it prints can be printed or not."""
    try:
        try:
            return _run(arguments)
        finally:
            output.flush()
    except BrokenPipeError:
        output.fall_silent()
        return EXIT_UNHEARD
    except OSError as error:
        output.fall_silent()
        with contextlib.suppress(OSError):
            print(f"face-embedding: error: cannot print: {error.strerror}", file=sys.stderr)
        return EXIT_ERROR


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in ("select", "upright"):
        if getattr(options, name, None) and not getattr(options, "detect", True):
            parser.error(f"--{name} needs --detect")
    if getattr(options, "check_alignment", False) and options.detect:
        parser.error("--check-alignment is for aligned faces, without --detect")
    try:
        with connect(options) as client:
            status: int = options.run(client, options)
    except BrokenPipeError:
        raise
    except (FaceEmbeddingError, OSError, UsageError) as error:
        print(f"{parser.prog}: error: {output.error_words(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        ending.undisturbed()
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        raise
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("face-embedding", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        add_connection_options(command)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        return command

    command = add("embed", embed, "embed faces in JPEG, PNG, WebP, AVIF or HEIC files")
    inputs.add_options(command, "FILE")
    _add_detection(command, "only", "central", "largest", "all")
    command.add_argument(
        "--output",
        type=Path,
        help="write the embeddings, and all that is said of them, to this .npz or .parquet",
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on with what a run that did not end left beside --output, as a .part file",
    )
    command = add("compare", _compare, "compare two faces (exit status 1: no match, or undecided)")
    stored = "a file, or an embedding that 'embed --output' stored: FILE.npz#NAME or .parquet#NAME"
    command.add_argument("first", type=Path, metavar="A", help=stored)
    command.add_argument("second", type=Path, metavar="B", help=stored)
    _add_detection(command, "only", "central", "largest")
    criterion = command.add_mutually_exclusive_group()
    criterion.add_argument(
        "--threshold", type=float, help="cosine similarity from which they match"
    )
    criterion.add_argument(
        "--operating-point", metavar="NAME", help="a threshold that 'info' shows as calibrated"
    )
    command = add("faces", faces, "find the faces of photographs (exit status 1: no face)")
    inputs.add_options(command, "PHOTO")
    _add_upright(command)
    command.add_argument("--draw", type=Path, help="draw the faces of one photograph to this .png")
    command = add("matrix", matrix, "compare all pairs of faces")
    inputs.add_options(command, "FILE")
    _add_detection(command, "only", "central", "largest")
    command.add_argument("--output", type=Path, help="draw a heat map to this .png file")
    command = add(
        "conformance", conformance, "check that a server keeps the contract (exit status 1 if not)"
    )
    add_conformance_options(command)
    add("info", _info, "describe the served model")
    add("models", _models, "list the served models")
    add("health", _health, "check that the server is SERVING (exit status 1 if not)")
    return parser


def _add_detection(command: argparse.ArgumentParser, *selections: str) -> None:
    command.add_argument(
        "--detect",
        action="store_true",
        help="the files are photographs, whose faces are found first, and no aligned faces",
    )
    command.add_argument(
        "--select",
        choices=selections,
        help="which faces of a photograph: 'only' refuses several, 'central' takes a large one "
        "in the middle (default with --detect: only)",
    )
    _add_upright(command)
    command.add_argument(
        "--check-alignment",
        action="store_true",
        help="warn of aligned faces that are not aligned; the server needs a detector for it",
    )


def _add_upright(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--upright",
        choices=("as_is", "auto"),
        help="what to do about photographs that are sideways: nothing, or turn by quarters those "
        "in which no face is found for sure (default: auto)",
    )


def _compare(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    files = {"first": options.first, "second": options.second}
    sides: dict[str, Face | Embedding] = {}
    try:
        for side, file in files.items():
            sides[side] = side_of(client, file, options)
        result = client.compare(
            sides["first"],
            sides["second"],
            threshold=options.threshold,
            operating_point=options.operating_point,
        )
    except (InvalidRequestError, OSError) as error:
        # The server names the side; before it is asked, it is the one that is read.
        of_side = side
        if isinstance(error, InvalidRequestError) and len(sides) == len(files):
            of_side = error.field.partition(".")[0]
        if of_side not in files:
            raise
        return _refused(str(files[of_side]), error, options)
    is_told = not math.isnan(result.cosine_similarity)
    if options.json:
        facts = {
            "cosine_similarity": result.cosine_similarity if is_told else None,
            "decision": result.decision or "UNSPECIFIED",
            "threshold": result.threshold,
            "expected_false_match_rate": result.expected_false_match_rate,
            "space": result.space,
            "model_version": result.model_version,
            "first": _prepared(result.first),
            "second": _prepared(result.second),
        }
        print(json.dumps(facts, indent=2))
    else:
        similarity = f"{result.cosine_similarity:.4f}" if is_told else "not told"
        print(f"cosine similarity {similarity}{_verdict(result)}")
        for file, prepared in ((options.first, result.first), (options.second, result.second)):
            output.print_warnings(str(file), prepared.warnings if prepared else ())
    return 0 if result.decision in (None, "MATCH") else EXIT_NO


def _refused(name: str, error: output.Failure, options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(output.failure_row(name, error), indent=2))
    else:
        output.print_failure(name, error)
    return EXIT_NO


def _prepared(prepared: PreparedFace | None) -> dict[str, Any] | None:
    return None if prepared is None else output.preparation_row(prepared)


def _verdict(result: Comparison) -> str:
    if result.decision is None:
        return ""
    verdict = f": {result.decision.replace('_', ' ').lower()}"
    if result.threshold is None or result.expected_false_match_rate is None:
        return verdict
    rate = f"expected false match rate {result.expected_false_match_rate:.3g}"
    return f"{verdict} (threshold {result.threshold:.4f}, {rate})"


def _info(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    facts = dataclasses.asdict(client.model_info())
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        points = facts.pop("operating_points")
        facts["served_models"] = ", ".join(facts["served_models"])
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<24} {value}")
        for point in points:
            print(f"{'operating point':<24} {_point_words(point)}")
    return 0


def _models(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    models = client.list_models()
    if options.json:
        print(json.dumps([dataclasses.asdict(each) for each in models], indent=2))
    else:
        for each in models:
            default = ", the default one" * each.is_default
            print(
                f"{each.name}: version {each.model_version}, {each.precision}, "
                f"{each.weights_origin.lower()} weights{default}"
            )
    return 0


def _point_words(point: dict[str, Any]) -> str:
    made = (
        "; calibrated on faces by {detector}, {selection}, {upright}" if point["detector"] else ""
    )
    return (
        "{name}: threshold {threshold:.4f} ({threshold_low:.4f} to {threshold_high:.4f}), "
        "false match rate {false_match_rate:.3g} (at most {false_match_rate_high:.3g}), "
        "false non-match rate {false_non_match_rate:.3g} (at most {false_non_match_rate_high:.3g})"
        f"{made}"
    ).format(**point)


def _health(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    try:
        serving = client.is_serving()
        status = "SERVING" if serving else "NOT_SERVING"
    except FaceEmbeddingError as error:
        serving, status = False, "UNREACHABLE"
        print(output.error_words(error), file=sys.stderr)
    print(json.dumps({"status": status}) if options.json else status)
    return 0 if serving else EXIT_NO
