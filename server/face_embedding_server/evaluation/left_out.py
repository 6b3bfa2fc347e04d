"""Images that are left out, and why, so that no figure is of a part without a word."""

import collections
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from face_embedding_server.inference.operating_points import Found

_SEVERAL_FACES = "SEVERAL_FACES"


@dataclass(frozen=True)
class LeftOut:
    """Why an image is left out: a reason of the contract, or one of ours, and its words."""

    reason: str
    message: str


def counted(left_out: Mapping[str, LeftOut]) -> dict[str, int]:
    """Return how many images are left out for each reason, the most frequent first."""
    return dict(collections.Counter(each.reason for each in left_out.values()).most_common())


def as_json(left_out: Mapping[str, LeftOut]) -> dict[str, Any]:
    """Return what is left out, with why, as the commands print it."""
    return {"left_out": {name: asdict(each) for name, each in left_out.items()}}


def lines(left_out: Mapping[str, LeftOut], images: int, *, hint: bool = True) -> list[str]:
    """Return what is left out of so many images, in words; nothing if that is none."""
    if not left_out:
        return []
    counts = counted(left_out)
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts.items())
    found = [f"left out: {len(left_out)} of {images} images ({reasons})"]
    found += [f"  {name}: {each.message}" for name, each in left_out.items()]
    if hint and _SEVERAL_FACES in counts:
        found.append("  --select central, or largest, takes one of several faces")
    return found


def found_lines(found: Found) -> list[str]:
    """Return how faces are found and which is taken, in words; nothing for aligned faces."""
    if not found.selection:
        return []
    several = {
        "only": "a photograph with several is left out",
        "central": "the large one in the middle is taken of several",
        "largest": "the largest is taken of several",
    }
    selected = f"--select {found.selection}: {several[found.selection]}"
    lines = [f"faces found by {found.detector}, {selected}"]
    if found.upright == "auto":
        lines.append("photographs that are sideways are turned (--upright auto)")
    return lines


def pairs_lines(repeated: int, *, used: bool) -> list[str]:
    """Return how many pairs show nothing of their own, in words; nothing if none are so.

    Args:
        repeated: how many.
        used: whether they are used all the same.
    """
    if not repeated:
        return []
    start = "warning: no pair of its own is left without the" if used else "pairs left out:"
    return [f"{start} {repeated} that are of a file and a copy of it, or of the same files again"]
