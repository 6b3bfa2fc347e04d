"""What makes an embedding less trustworthy, though there is one.

The limits were measured on 16 aligned photographs of five people with the trained MobileFaceNet.
Each lies between what these photographs have and what they have once they are spoilt so far that
the embedding turns away from the original one; the comments tell both, and the cosine then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import cv2
import numpy as np

from face_embedding_server.faces.alignment import (
    TEMPLATE,
    TEMPLATE_SIDE,
    similarity_transform,
    turn_degrees,
)
from face_embedding_server.faces.detectors import Detection
from face_embedding_server.faces.face import Points
from face_embedding_server.faces.images import Pixels

# The part of an aligned face that shows no background, as shares of height and width.
_TOP, _BOTTOM, _LEFT, _RIGHT = 0.14, 0.96, 0.11, 0.89


class WarningReason(Enum):
    """Why an embedding is less trustworthy; the names are those of the contract."""

    SMALL = auto()
    BLURRED = auto()
    NOT_FRONTAL = auto()
    DARK = auto()
    BRIGHT = auto()
    LOW_NORM = auto()
    LANDMARKS = auto()
    CHANNEL_ORDER = auto()
    TURNED = auto()
    UNSURE = auto()
    MISALIGNED = auto()


@dataclass(frozen=True)
class QualityWarning:
    """A measure of a face, and the limit that it is beyond."""

    reason: WarningReason
    value: float
    limit: float


@dataclass(frozen=True)
class _Range:
    """The values of a measure that are no reason to warn."""

    reason: WarningReason
    low: float = -math.inf
    high: float = math.inf

    def check(self, value: float) -> tuple[QualityWarning, ...]:
        if self.low <= value <= self.high:
            return ()
        return (QualityWarning(self.reason, value, self.low if value < self.low else self.high),)


# 103 to 172 as they are; 15 to 25 at 15 % of the light: 0.83 to 0.94.
_DARK = _Range(WarningReason.DARK, low=25)
# 199 to 241 with 100 added: 0.69 to 0.97.
_BRIGHT = _Range(WarningReason.BRIGHT, high=225)
# 0.121 to 0.319 as they are; 0.025 to 0.044 with a Gaussian blur of 1.5 pixels: 0.83 to 0.93.
_BLURRED = _Range(WarningReason.BLURRED, low=0.07)
# 43 to 100 as they are, and so -43 to -100 with red and blue swapped: 0.95 to 0.98; 0 in grey.
_CHANNEL_ORDER = _Range(WarningReason.CHANNEL_ORDER, low=-20)

# Up to 15 degrees as they are; a few of photographs turned by a quarter are found on their side, at
# 60 and more: -0.10 to 0.91.
_TURNED = _Range(WarningReason.TURNED, high=60)
_CIRCLE_DEGREES = 360

# Up to 5.9 in 99 % of the faces that are aligned to the template; 7.4 and more in 95 % of the boxes
# of the detectors, stretched to the size of a face: 0.52 to 0.57 in the median.
_MISALIGNED = _Range(WarningReason.MISALIGNED, high=6.5)


def warnings(
    face_bgr: Pixels, landmarks: Points | None, norm: float, min_norm: float | None
) -> list[QualityWarning]:
    """Return what makes an embedding less trustworthy.

    Args:
        face_bgr: the aligned face, HWC BGR, 0 to 255.
        landmarks: `[5, 2]` in the photograph; None if the face came aligned.
        norm: the norm of the raw embedding.
        min_norm: the least norm of a face's embedding; None if it is not known.
    """
    height, width = face_bgr.shape[:2]
    inner = face_bgr[
        int(_TOP * height) : int(_BOTTOM * height), int(_LEFT * width) : int(_RIGHT * width)
    ]
    # Three calls of OpenCV: each gives the interpreter's lock away, and gets it back late.
    means, deviations = (values[:, 0].tolist() for values in cv2.meanStdDev(inner))
    blue, green, red = means
    # ITU-R BT.601
    brightness = 0.114 * blue + 0.587 * green + 0.299 * red
    found = [
        *_DARK.check(brightness),
        *_BRIGHT.check(brightness),
        *_BLURRED.check(_detail(inner, math.hypot(*deviations))),
        *_CHANNEL_ORDER.check(red - blue),
    ]
    if min_norm is not None:
        found += _Range(WarningReason.LOW_NORM, low=min_norm).check(norm)
    if landmarks is not None:
        for limits, measure in _OF_LANDMARKS:
            found += limits.check(measure(landmarks))
    return found


def of_detection(face: Detection, unsure_score: float) -> list[QualityWarning]:
    """Return what the detector's answer says against a face.

    Args:
        face: what it found.
        unsure_score: its `Detector.unsure_score`.
    """
    turned = abs(turn_degrees(face.landmarks) + face.turned_degrees) % _CIRCLE_DEGREES
    return [
        *_TURNED.check(min(turned, _CIRCLE_DEGREES - turned)),
        *_Range(WarningReason.UNSURE, low=unsure_score).check(face.score),
    ]


def of_alignment(landmarks: Points | None) -> list[QualityWarning]:
    """Return what the landmarks that the detector finds in an aligned face say against it.

    Args:
        landmarks: `[5, 2]` in pixels of a face of `TEMPLATE_SIDE`; None if it finds no face.
    """
    if landmarks is None:
        return list(_MISALIGNED.check(TEMPLATE_SIDE))
    off = landmarks - TEMPLATE
    # A shift by 8 pixels to the left, where the template of 96×112 has faces, costs little: 0.92.
    off[:, 0] -= off[:, 0].mean()
    return list(_MISALIGNED.check(_root_mean_square(off)))


def _root_mean_square(distances: Points) -> float:
    return float(np.sqrt((distances**2).sum(axis=1).mean()))


def _detail(pixels: Pixels, deviation: float) -> float:
    """Return what changes both along and across, from pixel to pixel, as a share of the contrast.

    Blur in any one direction takes it away. Of a thousand faces of LFW, this tells those blurred by
    1.5 pixels from those that are not with an AUC of 0.998, and those moved by 9 pixels with 0.996.

    Args:
        pixels: HWC.
        deviation: of the channels together.
    """
    along = cv2.subtract(pixels[:, 1:], pixels[:, :-1], dtype=cv2.CV_32F)
    change = cv2.norm(along[1:], along[:-1], cv2.NORM_L2)
    area = math.sqrt(pixels.shape[0] * pixels.shape[1])
    return change / area / deviation if deviation > 0 else 0.0


def _eye_distance(landmarks: Points) -> float:
    return float(np.linalg.norm(landmarks[1] - landmarks[0]))


def _nose_offset(landmarks: Points) -> float:
    return float(np.linalg.norm(_nose(landmarks) - _nose(TEMPLATE)))


def _nose(landmarks: Points) -> Points:
    """Return where the nose is, from between the eyes, along and across the line through them."""
    left, right, nose = landmarks[:3]
    along = right - left
    across = np.array([-along[1], along[0]])
    axes = np.array([along, across]) / max(float(along @ along), 1e-6)
    offset: Points = axes @ (nose - (left + right) / 2)
    return offset


def _distance_to_template(landmarks: Points) -> float:
    transform = similarity_transform(landmarks, TEMPLATE)
    moved = landmarks @ transform[:, :2].T + transform[:, 2]
    return _root_mean_square(moved - TEMPLATE)


_OF_LANDMARKS: tuple[tuple[_Range, Callable[[Points], float]], ...] = (
    # 58 and more as they are; shrunk to 20: 0.93 to 0.96, to 15: 0.81 to 0.92.
    (_Range(WarningReason.SMALL, low=20), _eye_distance),
    # Up to 0.17 as they are; 0.28 for a head turned by 30 degrees, 0.42 by 40, by its geometry.
    (_Range(WarningReason.NOT_FRONTAL, high=0.35), _nose_offset),
    # Up to 5.6 as they are; 23 with left and right swapped, 8.7 and more for random points.
    (_Range(WarningReason.LANDMARKS, high=10), _distance_to_template),
)
