"""The command `face-embedding`.

Exit status: 0 for success, 1 if the answer is no (not serving, no match, a face that was refused),
2 for an error.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from face_embedding_client import Embedding, Face, FaceEmbeddingClient, FaceEmbeddingError

EXIT_NO = 1
EXIT_ERROR = 2
_ADDRESS_VARIABLE = "FACE_EMBEDDING_ADDRESS"
_DEFAULT_ADDRESS = "127.0.0.1:50051"
_MAX_TIMEOUT_S = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        with FaceEmbeddingClient(options.address, timeout_s=options.timeout) as client:
            status: int = options.run(client, options)
    except (FaceEmbeddingError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("face-embedding", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument(
            "--address",
            default=os.environ.get(_ADDRESS_VARIABLE, _DEFAULT_ADDRESS),
            metavar="HOST:PORT",
            help="the server (default: %(default)s)",
        )
        command.add_argument(
            "--timeout", type=_seconds, default=30.0, help="seconds to wait for each answer"
        )
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        return command

    embed = add("embed", _embed, "embed aligned faces in JPEG or PNG files")
    embed.add_argument("files", nargs="+", type=Path, metavar="FILE")
    embed.add_argument("--output", type=Path, help="write names and embeddings to this .npz file")
    compare = add("compare", _compare, "compare two aligned faces (exit status 1: no match)")
    compare.add_argument("first", type=Path, metavar="A")
    compare.add_argument("second", type=Path, metavar="B")
    compare.add_argument("--threshold", type=float, help="cosine similarity from which they match")
    add("info", _info, "describe the served model")
    add("health", _health, "check that the server is SERVING (exit status 1 if not)")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def _embed(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    files: list[Path] = options.files
    outcomes: dict[int, Embedding | FaceEmbeddingError | OSError] = {}
    if options.output:
        _check_output(options.output)

    def faces() -> Iterator[tuple[str, Face]]:
        for number, file in enumerate(files):
            try:
                face = file.read_bytes()
            except OSError as error:
                outcomes[number] = error
            else:
                yield str(number), face

    quiet = None if sys.stderr.isatty() else True
    with tqdm(total=len(files), unit="face", disable=quiet, leave=False) as bar:
        for number, outcome in client.embed_stream(faces()):
            outcomes[int(number)] = outcome
            bar.update()
    embeddings = {n: o for n, o in sorted(outcomes.items()) if isinstance(o, Embedding)}
    rows = [_embed_row(str(file), outcomes[n], options) for n, file in enumerate(files)]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_rows(rows)
    if options.output:
        size = client.model_info().embedding_size
        values = [embedding.values for embedding in embeddings.values()]
        np.savez(
            options.output,
            names=np.array([str(files[number]) for number in embeddings], np.str_),
            embeddings=np.array(values, np.float32).reshape(-1, size),
        )
        print(f"{len(embeddings)} of {len(files)} embeddings in {options.output}", file=sys.stderr)
    return 0 if len(embeddings) == len(files) else EXIT_NO


def _check_output(output: Path) -> None:
    """Refuse, before any work, a file that could not be written after it."""
    if output.suffix != ".npz":
        raise OSError(f"the output {output} has to end with .npz")
    if not os.access(output.parent, os.W_OK):
        raise OSError(f"the folder of {output} does not exist or cannot be written")


def _embed_row(
    name: str,
    outcome: Embedding | FaceEmbeddingError | OSError,
    options: argparse.Namespace,
) -> dict[str, Any]:
    if isinstance(outcome, OSError):
        message = f"cannot be read: {outcome.strerror}"
        return {"name": name, "error": {"reason": "FILE_UNREADABLE", "message": message}}
    if isinstance(outcome, FaceEmbeddingError):
        return {"name": name, "error": {"reason": outcome.reason, "message": outcome.message}}
    row = {"name": name, "norm": outcome.norm, "space": outcome.space}
    return row if options.output else row | {"values": outcome.values.tolist()}


def _print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "error" in row:
            print(f"{row['name']}: {row['error']['message']}", file=sys.stderr)
        else:
            start = " ".join(f"{value:+.4f}" for value in row.get("values", [])[:4])
            print(f"{row['name']}: norm {row['norm']:.3f} {start}{' …' if start else ''}")


def _compare(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    result = client.compare(
        options.first.read_bytes(), options.second.read_bytes(), threshold=options.threshold
    )
    decision = {None: "UNSPECIFIED", True: "MATCH", False: "NO_MATCH"}[result.match]
    if options.json:
        facts = {
            "cosine_similarity": result.cosine_similarity,
            "decision": decision,
            "threshold": result.threshold,
            "space": result.space,
        }
        print(json.dumps(facts, indent=2))
    else:
        verdict = {None: "", True: ": match", False: ": no match"}[result.match]
        print(f"cosine similarity {result.cosine_similarity:.4f}{verdict}")
    return EXIT_NO if result.match is False else 0


def _info(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    facts = dataclasses.asdict(client.model_info())
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<24} {value}")
    return 0


def _health(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    try:
        serving = client.is_serving()
        status = "SERVING" if serving else "NOT_SERVING"
    except FaceEmbeddingError as error:
        serving, status = False, "UNREACHABLE"
        print(error, file=sys.stderr)
    print(json.dumps({"status": status}) if options.json else status)
    return 0 if serving else EXIT_NO
