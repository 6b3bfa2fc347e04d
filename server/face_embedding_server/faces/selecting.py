"""Which of the faces of a photograph are meant."""

from collections.abc import Sequence

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.detectors import Detection
from face_embedding_server.faces.face import Detect, Selection
from face_embedding_server.faces.headers import ImageSize

# What the square of a face's distance from the middle weighs against its area. Source: InsightFace,
# python-package/insightface/model_zoo/scrfd.py, `detect` with `max_num`. On the 807 photographs of
# LFW's fold 1, weights from 2 to 8 and the distance alone all take the same faces, with MTCNN and
# with YuNet; at 1, YuNet takes one bystander, and at 0.25 MTCNN takes two.
_DISTANCE_WEIGHT = 2.0


def choose(
    found: Sequence[Detection], wanted: Detect, size: ImageSize, most: int
) -> Sequence[Detection]:
    """Return the faces that are meant: one, unless all are.

    Args:
        found: the faces of a photograph, those with larger boxes first.
        wanted: which are meant.
        size: of the photograph.
        most: the most faces of one photograph.

    Raises:
        Refusal: if there is none, or several where one is meant.
    """
    if not found:
        raise Refusal(
            Reason.NO_FACE_FOUND,
            "no face was found in the photograph, whichever side is up; is there one, and is it "
            "large enough?"
            if wanted.upright
            else "no face was found in the photograph; is there one, upright and large enough?",
            "detect",
        )
    selection = wanted.selection
    if selection is Selection.ONLY and len(found) > 1:
        raise Refusal(
            Reason.SEVERAL_FACES,
            f"{len(found)} faces were found where one was asked for: crop the photograph, or ask "
            f"for the most central face, the largest, or all",
            "detect",
        )
    if selection is Selection.ALL:
        return found[:most]
    if selection is Selection.CENTRAL:
        return [max(found, key=lambda face: _centrality(face, size))]
    return found[:1]


def _centrality(face: Detection, size: ImageSize) -> float:
    """Return a number, in pixels squared, that is larger for larger and for more central faces."""
    box = face.box
    right, down = box.left + (box.width - size.width) / 2, box.top + (box.height - size.height) / 2
    return box.width * box.height - _DISTANCE_WEIGHT * (right**2 + down**2)
