"""What the commands print: JSON in the contract's words, and words for people."""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from tqdm import tqdm

from face_embedding_client._errors import FaceEmbeddingError, InvalidRequestError
from face_embedding_client._types import (
    Detection,
    EmbeddedFaces,
    Embedding,
    FaceWarning,
    Landmarks,
    PreparedFace,
)
from face_embedding_client.cli.usage import UsageError


class FacesMissing(Exception):
    """Not all faces of a photograph were embedded; has how many are missing."""

    def __init__(self, faces: EmbeddedFaces) -> None:
        self.missing = faces.missing
        super().__init__(
            f"{faces.found} faces were found and {len(faces)} of them embedded, {faces.missing} "
            f"are missing: the server embeds no more of one photograph "
            f"(max_faces_per_request); crop it into parts"
        )


# Why there is nothing for a file, or not all: it cannot be read, the server refused it, or it has
# too many faces.
Failure: TypeAlias = FaceEmbeddingError | OSError | FacesMissing

# What the value of a warning is, by the warning's reason.
_MEASURES = {
    "SMALL": "distance of the eyes in pixels",
    "BLURRED": "fine detail as a share of contrast",
    "NOT_FRONTAL": "nose off its place in distances of the eyes",
    "DARK": "mean luminance of 255",
    "BRIGHT": "mean luminance of 255",
    "LOW_NORM": "norm of the embedding",
    "LANDMARKS": "distance from a face's layout in pixels",
    "CHANNEL_ORDER": "red above blue of 255",
    "TURNED": "degrees that the face is turned",
    "UNSURE": "score of the detector",
    "MISALIGNED": "distance from an aligned face's landmarks in pixels",
}


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_output(output: Path, *suffixes: str, inputs: Iterable[Path] = ()) -> None:
    """Refuse, before any work, a file that could not be written after it, or that is an input."""
    if output.suffix not in suffixes:
        raise UsageError(f"the output {output} has to end with {' or '.join(suffixes)}")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(f"the folder of {output} does not exist or cannot be written")
    if output.exists() and not (output.is_file() and os.access(output, os.W_OK)):
        raise UsageError(f"the output {output} is there, and is no file that can be written")
    if output.exists() and any(_is_same(output, each) for each in inputs):
        raise UsageError(f"the output {output} is one of the files that are read: name another")


def _is_same(output: Path, file: Path) -> bool:
    # What cannot be read is told of later.
    with contextlib.suppress(OSError):
        return output.samefile(file)
    return False


def open_streams() -> None:
    """Open what a caller closed of standard input, output and error, to nowhere.

    A file or connection that is opened later would take the number of a closed one, and get what
    libraries print; and Python prints errors to standard output where there is no other.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It takes the least number that is free.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def show_anything() -> None:
    """Let names be printed that a terminal cannot show, or that are no text: as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def on_a_line(name: str) -> str:
    """Return a name with its line breaks, and what steers terminals, as escapes."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], name)


def flush() -> None:
    """Print what is not printed yet."""
    if sys.stdout:
        sys.stdout.flush()


def fall_silent() -> None:
    """Print no more answers, as what reads them is gone, or its disk is full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # Not every stream is a file, as in tests.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def progress_bar(total: int, unit: str) -> "tqdm[Any]":
    """Return a progress bar, which only a terminal shows."""
    quiet = None if sys.stderr.isatty() else True
    return tqdm(total=total, unit=unit, disable=quiet, leave=False)


def of_one_file(error: FaceEmbeddingError | OSError) -> Failure:
    """Return an error that is about one file, so that the next can fare better; raise others."""
    if isinstance(error, OSError | InvalidRequestError) or error.reason == "INTERNAL":
        return error
    raise error


def drawing() -> ModuleType:
    """Return the module that draws.

    Raises:
        UsageError: if what it needs is not installed.
    """
    try:
        from face_embedding_client.cli import drawing as module
    except ModuleNotFoundError as error:
        raise UsageError(
            f"pictures need {error.name}: pip install 'face-embedding[plot]'"
        ) from error
    return module


def error_words(error: Exception) -> str:
    """Return an error for people, with what the server's operator finds the call by."""
    return f"{error}{_request_words(getattr(error, 'request_id', ''))}"


def _request_words(request_id: str) -> str:
    return f" (request {request_id})" if request_id else ""


def failure_row(name: str, failure: Failure) -> dict[str, Any]:
    """Return a file that failed as JSON."""
    if isinstance(failure, OSError):
        message = f"cannot be read: {failure.strerror}"
        return {"name": name, "error": {"reason": "FILE_UNREADABLE", "message": message}}
    if isinstance(failure, FacesMissing):
        return {"name": name, "error": {"reason": "FACES_MISSING", "message": str(failure)}}
    facts = {"reason": failure.reason, "message": failure.message}
    if failure.request_id:
        facts["request_id"] = failure.request_id
    return {"name": name, "error": facts}


def print_failure(name: str, failure: Failure) -> None:
    """Say on standard error why there is nothing for a file."""
    facts = failure_row(name, failure)["error"]
    words = _request_words(facts.get("request_id", ""))
    print(f"{on_a_line(name)}: {facts['message']}{words}", file=sys.stderr)


def detection_row(detection: Detection) -> dict[str, Any]:
    """Return a face that was found as JSON."""
    return {
        "box": dataclasses.asdict(detection.box),
        "landmarks": {
            name: {"x": x, "y": y} for name, (x, y) in landmark_points(detection.landmarks).items()
        },
        "score": detection.score,
        "turned_degrees": detection.turned_degrees,
    }


def landmark_points(landmarks: Landmarks) -> dict[str, tuple[float, float]]:
    """Return the points of landmarks by name."""
    return {field.name: getattr(landmarks, field.name) for field in dataclasses.fields(landmarks)}


def preparation_row(prepared: Embedding | PreparedFace) -> dict[str, Any]:
    """Return what the server found and has to say of a face as JSON."""
    detection = prepared.detection
    return {
        "detection": None if detection is None else detection_row(detection),
        "warnings": [dict(vars(warning)) for warning in prepared.warnings],
    }


def box_words(detection: Detection) -> str:
    """Return where a face is, in words."""
    box = detection.box
    return f"{box.width:.0f}×{box.height:.0f} at {box.left:.0f}, {box.top:.0f}"


def turned_words(detection: Detection) -> str:
    """Return that the photograph was turned to find a face, in words; nothing where it was not."""
    degrees = detection.turned_degrees
    return f", turned clockwise by {degrees} degrees" if degrees else ""


def print_warnings(name: str, warnings: Iterable[FaceWarning]) -> None:
    """Say on standard error what makes an embedding less trustworthy."""
    for warning in warnings:
        words = warning.reason.replace("_", " ").lower()
        measure = _MEASURES.get(warning.reason, "measured")
        facts = f"{measure}: {warning.value:.3g}, limit {warning.limit:.3g}"
        print(f"{on_a_line(name)}: warning: {words} ({facts})", file=sys.stderr)
