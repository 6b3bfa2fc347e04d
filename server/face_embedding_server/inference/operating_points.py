"""Operating points: thresholds with the errors that are to be expected at them.

They are calibrated on labelled pairs (see `evaluation`), kept in a JSON file, and mean something in
one embedding space only.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from face_embedding_models import regular_files
from face_embedding_models.checking import problems
from face_embedding_models.texts import clipped
from face_embedding_server.errors import OperatorError, Reason, Refusal


class CalibrationError(OperatorError):
    """A calibration cannot be made, read or used; the message says why and what to do."""


Similarity: TypeAlias = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Rate: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# Which face of a photograph is taken; empty for aligned faces.
SelectionName: TypeAlias = Literal["", "only", "central", "largest"]
# Whether photographs that are sideways are turned; empty for aligned faces.
UprightName: TypeAlias = Literal["", "as_is", "auto"]
_CHECKED = ConfigDict(extra="forbid", strict=True)


class Decision(Enum):
    """What a similarity means; the names are those of the contract."""

    MATCH = auto()
    NO_MATCH = auto()
    UNDECIDED = auto()


def decide(similarity: float, threshold: float) -> Decision:
    """Return what a similarity means at a threshold."""
    return Decision.MATCH if similarity >= threshold else Decision.NO_MATCH


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold; the fields are those of the contract's `OperatingPoint`."""

    __pydantic_config__ = _CHECKED

    name: str
    threshold: Similarity
    threshold_low: Similarity
    threshold_high: Similarity
    false_match_rate: Rate
    false_match_rate_high: Rate
    false_non_match_rate: Rate
    false_non_match_rate_high: Rate

    def decide(self, similarity: float) -> Decision:
        """Return what a similarity means, which the calibration may leave open."""
        if self.threshold_low <= similarity < self.threshold_high:
            return Decision.UNDECIDED
        return decide(similarity, self.threshold)


class Found(NamedTuple):
    """How the faces of images are found; all three are empty if they came aligned."""

    detector: str = ""
    selection: SelectionName = ""
    upright: UprightName = ""

    def __str__(self) -> str:
        if not self.selection:
            return "faces aligned before"
        return (
            f"faces found by {clipped(self.detector)}, --select {self.selection}, "
            f"--upright {self.upright}"
        )


@dataclass(frozen=True)
class Calibration:
    """The operating points of an embedding space, and what they come from.

    Args:
        space: the embedding space.
        same_pairs: the number of pairs of one person.
        different_pairs: the number of pairs of two.
        operating_points: the thresholds.
        detector: what found the faces; empty if they came aligned, None if nothing is known of it,
            as of a calibration of an earlier version.
        selection: which face of a photograph was taken; empty and None as above.
        upright: whether photographs that are sideways were turned; empty and None as above.
        note: what so few pairs do not support; empty if there are enough.
        pairs_left_out: the number of pairs that were given and not used.
        left_out: the reason why an image could not be used, by its name.
    """

    __pydantic_config__ = _CHECKED

    space: str
    same_pairs: Annotated[int, Field(ge=0)]
    different_pairs: Annotated[int, Field(ge=0)]
    operating_points: tuple[OperatingPoint, ...]
    detector: str | None = None
    selection: SelectionName | None = None
    note: str = ""
    pairs_left_out: Annotated[int, Field(ge=0)] = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    upright: UprightName | None = None

    @property
    def model(self) -> str:
        """The name of the model that the space belongs to."""
        return self.space.partition("/")[0]

    def check(self, space: str) -> None:
        """Refuse to be used in another embedding space.

        Raises:
            CalibrationError: if it is another one.
        """
        if self.space != space:
            raise CalibrationError(
                f"the calibration is of the embedding space '{clipped(self.space)}', the model's "
                f"is '{space}'; calibrate again with this model"
            )

    def doubts(self, detector: str) -> Iterator[str]:
        """Yield why the rates may not be those of a server with this detector; empty for none."""
        if self.note:
            yield self.note
        if self.detector is not None and self.detector != detector:
            found = f"found by {clipped(self.detector)}" if self.detector else "aligned before"
            finds = f"finds them by {detector}" if detector else "has no detector"
            yield (
                f"it was made on faces {found}, and this server {finds}: in photographs the rates "
                f"may differ; calibrate with this server's detector"
            )

    def doubts_of(self, found: Found) -> Iterator[str]:
        """Yield why the rates may not be those of faces that are found so; nothing for none."""
        known = {key: value for key, value in asdict(self).items() if key in Found._fields}
        made = found._replace(**{key: value for key, value in known.items() if value is not None})
        if made != found:
            yield (
                f"the calibration was made on {made}, and these are {found}: the rates may differ; "
                f"calibrate on faces that are found alike"
            )

    def get(self, name: str) -> OperatingPoint:
        """Return an operating point.

        Raises:
            Refusal: if there is none of that name.
        """
        for point in self.operating_points:
            if point.name == name:
                return point
        known = ", ".join(point.name for point in self.operating_points) or "none"
        raise unknown_operating_point(name, f"known are: {known}")


def unknown_operating_point(name: str, hint: str) -> Refusal:
    """Return the refusal of an operating point that is not there."""
    return Refusal(
        Reason.OPERATING_POINT_UNKNOWN,
        f"there is no operating point '{clipped(name)}'; {hint}",
        "operating_point",
    )


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON.

    Raises:
        CalibrationError: if the file cannot be written.
    """
    text = json.dumps(asdict(calibration), indent=2) + "\n"
    if len(text) > regular_files.TEXT_BYTES:
        raise CalibrationError(
            f"the calibration would have more than {regular_files.TEXT_BYTES:,} bytes, so many "
            f"images are left out ({len(calibration.left_out):,}); take their pairs from the table"
        )
    try:
        regular_files.replace(path, text.encode())
    except OSError as error:
        raise CalibrationError(f"the calibration {path} cannot be written: {error}") from error


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        CalibrationError: if the file cannot be read, is damaged, or says what cannot be.
    """
    try:
        calibration = _CALIBRATION.validate_json(regular_files.read_text(path))
    except ValidationError as error:
        raise CalibrationError(
            f"{path} is not a calibration, or a damaged one or of a later version "
            f"({problems(error)}); make it with 'face-embedding-server calibrate'"
        ) from error
    except (OSError, ValueError) as error:
        raise CalibrationError(f"the calibration {path} cannot be read: {error}") from error
    for point in calibration.operating_points:
        if not point.threshold_low <= point.threshold <= point.threshold_high:
            raise CalibrationError(
                f"{path} is not a calibration: the threshold of '{clipped(point.name)}' is not "
                f"between threshold_low and threshold_high; make it with 'face-embedding-server "
                f"calibrate'"
            )
    return calibration


_CALIBRATION = TypeAdapter(Calibration)
