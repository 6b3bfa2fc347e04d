"""What `embed --output` has so far: a line for each file, in a .part file beside the output.

A line is written as soon as a file is answered, so that nothing is lost whatever ends the command.
`--resume` reads them: a file of the same path, size and SHA-256 is not sent again. The first line
says what all others were made by.
"""

import base64
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import grpc
import numpy as np

from face_embedding_client._errors import InvalidRequestError, SuspectRequestError
from face_embedding_client._types import Box, Detection, Embedding, FaceWarning, Landmarks
from face_embedding_client.cli import output
from face_embedding_client.cli.output import Failure
from face_embedding_client.cli.usage import UsageError

# What became of one file: its faces, or one failure.
Answers: TypeAlias = list[Embedding | Failure]

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a file is known by: its absolute path, its size in bytes and the SHA-256 of these."""

    path: str
    size: int = -1
    sha256: str = ""


def identity(file: Path, data: bytes) -> Identity:
    """Return what a file with this content is known by."""
    return Identity(os.path.abspath(file), len(data), hashlib.sha256(data).hexdigest())  # noqa: PTH100  # Links stay as they are.


class Kept:
    """The results of one run, and of those that it goes on with.

    Args:
        target: the output, beside which they are kept.
        terms: what all results have in common: the embedding space, and what was done to a file.
        resume: go on with what an earlier run left.

    Raises:
        UsageError: if an earlier run left something that this one is not to go on with, or cannot.
    """

    def __init__(self, target: Path, terms: dict[str, Any], *, resume: bool) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._terms = {"format": _FORMAT, **terms}
        self._file: IO[bytes] | None = None
        self._end = 0
        # Where the lines are, as the first byte and the length.
        self._known: dict[Identity, tuple[int, int]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        if self.path.exists():
            # Not while another run writes it, which is not to be removed.
            self._file = self._opened("r+b")
            if not resume:
                self._file.close()
                raise UsageError(
                    f"{self.path} has the results of a run that did not end: go on with them by "
                    "--resume, or remove it"
                )
            self._load(self._file)

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            # All lines are out already, but for one that found no room.
            with contextlib.suppress(OSError):
                self._file.close()

    @property
    def count(self) -> int:
        """How many files of this run have their answers."""
        return len(self._places)

    def recall(self, number: int, file: Identity) -> Answers | None:
        """Return what an earlier run has for a file, as that of this run's numbered one."""
        place = self._known.get(file)
        if place is None:
            return None
        self._places[number] = place
        return self.answers(number)

    def add(self, number: int, file: Identity, answers: Answers) -> None:
        """Keep what became of a numbered file.

        Raises:
            UsageError: if it cannot be written, or is of another embedding space than the others.
        """
        for answer in answers:
            if isinstance(answer, Embedding) and answer.space != self._terms["space"]:
                raise UsageError(
                    f"the server embeds into {answer.space} by now, and what is in {self.path} is "
                    f"of {self._terms['space']}: they cannot be in one file"
                )
        try:
            if self._file is None:
                self._file = self._opened("x+b")
            if self._end == 0:
                self._write(self._file, self._terms)
            rows = [_row(answer) for answer in answers]
            self._places[number] = self._write(self._file, {**vars(file), "answers": rows})
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error

    def answers(self, number: int) -> Answers:
        """Return what became of a numbered file."""
        place, length = self._places[number]
        line = os.pread(self._file.fileno(), length, place) if self._file else b""
        return [_answer(row) for row in json.loads(line)["answers"]]

    def remove(self) -> None:
        """Forget all, which is in the output by now."""
        self.path.unlink(missing_ok=True)

    def _opened(self, mode: str) -> IO[bytes]:
        try:
            file: IO[bytes] = self.path.open(mode, buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileExistsError) as error:
            raise UsageError(f"{self.path} is being written by another run") from error
        except OSError as error:
            raise UsageError(f"{self.path} cannot be used: {error.strerror}") from error
        return file

    def _write(self, file: IO[bytes], line: dict[str, Any]) -> tuple[int, int]:
        """Write a line behind the last one, and return where it is."""
        data = memoryview(json.dumps(line).encode() + b"\n")
        place, length = self._end, len(data)
        while data:
            written = os.pwrite(file.fileno(), data, self._end)
            self._end += written
            data = data[written:]
        return place, length

    def _load(self, file: IO[bytes]) -> None:
        whole = 0
        for place, line in _lines(file):
            if not line.endswith(b"\n"):
                break  # The run was ended in the middle of it.
            whole = place + len(line)
            try:
                self._note(place, len(line), json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{self.path} is damaged at byte {place}: remove it") from error
        file.truncate(whole)
        self._end = whole

    def _note(self, place: int, length: int, line: dict[str, Any]) -> None:
        if place == 0:
            differing = [key for key in self._terms if line.get(key) != self._terms[key]]
            if differing:
                key = differing[0]
                raise UsageError(
                    f"{self.path} was made with {key} {line.get(key)}, and not {self._terms[key]}: "
                    "go on with the same server and options, or remove it"
                )
            return
        known = Identity(line["path"], line["size"], line["sha256"])
        if not any(row.get("again") for row in line["answers"]):
            self._known[known] = (place, length)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    place = 0
    with open(os.dup(file.fileno()), "rb") as reader:  # noqa: PTH123  # By descriptor.
        for line in reader:
            yield place, line
            place += len(line)


def _row(answer: Embedding | Failure) -> dict[str, Any]:
    if not isinstance(answer, Embedding):
        # Anything else may be another time.
        final = isinstance(answer, InvalidRequestError | SuspectRequestError)
        return {"again": not final, **output.failure_row("", answer)["error"]}
    values = base64.b64encode(answer.values.astype("<f4").tobytes()).decode("ascii")
    facts = {name: getattr(answer, name) for name in _FACTS}
    return {"values": values, **facts, **output.preparation_row(answer)}


_FACTS = ("norm", "space", "model_version", "precision", "faces_found")


def _answer(row: dict[str, Any]) -> Embedding | Failure:
    if "values" not in row:
        code = grpc.StatusCode.INVALID_ARGUMENT
        request_id = row.get("request_id", "")
        return InvalidRequestError(row["message"], row["reason"], "", code, request_id)
    return Embedding(
        values=np.frombuffer(base64.b64decode(row["values"]), "<f4").astype(np.float32),
        detection=_detection(row["detection"]) if row["detection"] else None,
        warnings=tuple(FaceWarning(**warning) for warning in row["warnings"]),
        **{name: row[name] for name in _FACTS},
    )


def _detection(row: dict[str, Any]) -> Detection:
    points = {name: (point["x"], point["y"]) for name, point in row["landmarks"].items()}
    return Detection(
        Box(**row["box"]), Landmarks(**points), row["score"], row.get("turned_degrees", 0)
    )
