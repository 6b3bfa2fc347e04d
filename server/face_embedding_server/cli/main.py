"""The command `face-embedding-server`.

Exit status: 0 for success, 1 if the answer of a check is no, 2 for an error, 130 if interrupted,
141 if nobody reads what is printed.
"""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from face_embedding_models.errors import ModelError
from face_embedding_server.cli import printing
from face_embedding_server.errors import OperatorError

EXIT_NO = 1
EXIT_ERROR = 2
# As a shell tells of SIGINT and of SIGPIPE: 128 and the number of the signal.
EXIT_INTERRUPTED = 130
EXIT_UNHEARD = 141
PROGRAM = "face-embedding-server"


@dataclass(frozen=True)
class Command:
    """A command: what it does, and the module of this package and its function that add options.

    The module is only imported for this command, as most need much that others do not.
    """

    summary: str
    module: str
    add: str = "add_options"

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the options, and what runs the command."""
        module = importlib.import_module(f"{__package__}.{self.module}")
        add: Callable[[argparse.ArgumentParser], None] = getattr(module, self.add)
        add(parser)


COMMANDS = {
    "serve": Command("serve models over gRPC", "serve"),
    "models": Command("look after the model files", "models"),
    "parity": Command(
        "check that both backends give the same embeddings (exit status 1 if not)", "parity"
    ),
    "evaluate": Command(
        "measure how well a model tells people apart", "evaluation", "add_evaluate_options"
    ),
    "calibrate": Command(
        "choose thresholds by the errors to be expected", "evaluation", "add_calibrate_options"
    ),
    "drift": Command(
        "show what a change does to decisions (exit status 1 if they flip)",
        "drift",
        "add_drift_options",
    ),
    "token": Command("make a bearer token for the access file", "token"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    printing.show_anything()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else list(arguments))
        finally:
            printing.flush()
    except BrokenPipeError:
        printing.fall_silent()
        return EXIT_UNHEARD
    except OSError as error:
        # Of a file, or of what is printed.
        printing.fall_silent()
        with contextlib.suppress(OSError):
            print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_ERROR


def _run(given: Sequence[str]) -> int:
    chosen = given[0] if given else ""
    parser = build_parser([chosen])
    options = parser.parse_args(given)
    try:
        status: int = options.run(options)
    except (ModelError, OperatorError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status


def build_parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows all commands, and the options of the chosen ones."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(PROGRAM, description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.summary, description=command.summary)
        if name in chosen:
            command.add_to(added)
    return parser
