"""What a command prints of many files: in their order, as they are answered, whatever ends it."""

import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from face_embedding_client.cli import ending, output

T = TypeVar("T")

_UNANSWERED = {"reason": "UNANSWERED", "message": "the command ended before its answer"}


class Report(Generic[T]):
    """Prints what became of files; of those without an answer, that there is none.

    Args:
        files: all files.
        row: returns the JSON of an outcome with its name, if JSON is to be printed.
        show: prints an outcome with its name in words.
        as_json: print JSON.
        kept: where the answers are kept as well, and how to go on with them; printing may fail
            then.
    """

    def __init__(
        self,
        files: Sequence[Path],
        row: Callable[[str, T], dict[str, Any]],
        show: Callable[[str, T], None],
        *,
        as_json: bool,
        kept: str = "",
    ) -> None:
        self._files = files
        self._row = row
        self._show = show
        self._as_json = as_json
        self._kept = kept
        self._waiting: dict[int, list[tuple[str, T]]] = {}
        self._next = 0
        self._printed = 0

    def __enter__(self) -> "Report[T]":
        return self

    def add(self, number: int, outcomes: list[tuple[str, T]]) -> None:
        """Print what became of a numbered file, when its turn comes."""
        self._waiting[number] = outcomes
        with self._printing():
            while self._next in self._waiting:
                with ending.held():  # A row is printed as a whole.
                    # It has its answer, whether that can be printed or not.
                    self._next += 1
                    self._print(self._waiting.pop(self._next - 1))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            ending.undisturbed()
        nothing = self._next == 0 and not self._waiting
        if kind is not None and (nothing or issubclass(kind, BrokenPipeError)):
            return
        with self._printing():
            if self._next < len(self._files):
                self._print_rest()
            if self._as_json:
                print("\n]" if self._printed else "[]")

    def _print_rest(self) -> None:
        missing = 0
        for number in range(self._next, len(self._files)):
            outcomes = self._waiting.get(number)
            name = str(self._files[number])
            if outcomes is not None:
                self._print(outcomes)
                continue
            missing += 1
            if self._as_json:
                self._print_row({"name": name, "error": _UNANSWERED})
            else:
                words = _UNANSWERED["message"]
                print(f"{output.on_a_line(name)}: {words}", file=sys.stderr)
        # None is, where answers were waiting for one that could not be printed.
        if missing:
            where = f"; the others are kept in {self._kept}" if self._kept else ""
            words = f"{missing} of {len(self._files)} files have no answer{where}"
            print(words, file=sys.stderr)

    def _print(self, outcomes: list[tuple[str, T]]) -> None:
        for name, outcome in outcomes:
            if self._as_json:
                self._print_row(self._row(name, outcome))
            else:
                self._show(name, outcome)

    def _print_row(self, row: dict[str, Any]) -> None:
        text = textwrap.indent(json.dumps(row, indent=2), "  ")
        print(f",\n{text}" if self._printed else f"[\n{text}", end="")
        self._printed += 1

    @contextlib.contextmanager
    def _printing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._kept:
                raise
            output.fall_silent()
            if not isinstance(error, BrokenPipeError):
                words = f"cannot print: {error.strerror}; what is not printed is kept all the same"
                print(f"face-embedding: {words}", file=sys.stderr)
