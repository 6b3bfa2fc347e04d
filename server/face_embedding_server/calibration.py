"""Operating points: thresholds with the errors that are to be expected at them.

They are calibrated on labelled pairs (see `evaluation`), kept in a JSON file, and mean something in
one embedding space only.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.errors import OperatorError, Refusal


class CalibrationError(OperatorError):
    """A calibration cannot be made, read or used; the message says why and what to do."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold; the fields are those of the contract's `OperatingPoint`."""

    name: str
    threshold: float
    threshold_low: float
    threshold_high: float
    false_match_rate: float
    false_match_rate_high: float
    false_non_match_rate: float
    false_non_match_rate_high: float

    def decide(self, similarity: float) -> pb.Decision:
        """Return what a similarity means, which the calibration may leave open."""
        if self.threshold_low <= similarity < self.threshold_high:
            return pb.DECISION_UNDECIDED
        return pb.DECISION_MATCH if similarity >= self.threshold else pb.DECISION_NO_MATCH


@dataclass(frozen=True)
class Calibration:
    """The operating points of an embedding space, and the numbers of pairs they come from."""

    space: str
    same_pairs: int
    different_pairs: int
    operating_points: tuple[OperatingPoint, ...]

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
                f"the calibration is of the embedding space '{self.space}', the model's is "
                f"'{space}'; calibrate again with this model"
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
        pb.ERROR_REASON_OPERATING_POINT_UNKNOWN,
        f"there is no operating point '{name}'; {hint}",
        "operating_point",
    )


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON.

    Raises:
        CalibrationError: if the file cannot be written.
    """
    try:
        path.write_text(json.dumps(asdict(calibration), indent=2) + "\n", "utf-8")
    except OSError as error:
        raise CalibrationError(f"the calibration {path} cannot be written: {error}") from error


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        CalibrationError: if the file cannot be read or is damaged.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        points = tuple(OperatingPoint(**point) for point in document.pop("operating_points"))
        return Calibration(operating_points=points, **document)
    except OSError as error:
        raise CalibrationError(f"the calibration {path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationError(
            f"{path} is not a calibration, or a damaged one ({error!r}); make it with "
            f"'face-embedding-server calibrate'"
        ) from error
