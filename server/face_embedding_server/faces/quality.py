"""What makes an embedding less trustworthy, though there is one.

The limits were measured on 16 aligned photographs of five people with the trained MobileFaceNet.
Each lies between what these photographs have and what they have once they are spoilt so far that
the embedding turns away from the original one; the comments tell both, and the cosine then.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

import cv2
import numpy as np

from face_embedding_server.faces.alignment import TEMPLATE, similarity_transform
from face_embedding_server.faces.face import Points
from face_embedding_server.faces.images import Image, Pixels

# The part of an aligned face that shows no background, as shares of height and width.
_TOP, _BOTTOM, _LEFT, _RIGHT = 0.14, 0.96, 0.11, 0.89
_BLUR_PIXELS = 3


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
    low: float = -np.inf
    high: float = np.inf

    def check(self, value: float) -> Iterator[QualityWarning]:
        for limit, beyond in ((self.low, value < self.low), (self.high, value > self.high)):
            if beyond:
                yield QualityWarning(self.reason, value, limit)


# 103 to 172 as they are; 15 to 25 at 15 % of the light: 0.83 to 0.94.
_DARK = _Range(WarningReason.DARK, low=25)
# 199 to 241 with 100 added: 0.69 to 0.97.
_BRIGHT = _Range(WarningReason.BRIGHT, high=225)
# 0.099 to 0.257 as they are; 0.028 to 0.069 with a Gaussian blur of 1.5 pixels: 0.83 to 0.93.
_BLURRED = _Range(WarningReason.BLURRED, low=0.07)
# 43 to 100 as they are, and so -43 to -100 with red and blue swapped: 0.95 to 0.98; 0 in grey.
_CHANNEL_ORDER = _Range(WarningReason.CHANNEL_ORDER, low=-20)


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
    grey = cv2.cvtColor(inner, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
    blue, _, red, _ = cv2.mean(inner)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    found = [
        *_DARK.check(mean),
        *_BRIGHT.check(mean),
        *_BLURRED.check(_detail(grey, deviation)),
        *_CHANNEL_ORDER.check(red - blue),
    ]
    if min_norm is not None:
        found += _Range(WarningReason.LOW_NORM, low=min_norm).check(norm)
    if landmarks is not None:
        for limits, measure in _OF_LANDMARKS:
            found += limits.check(measure(landmarks))
    return found


def _detail(grey: Image, deviation: float) -> float:
    """Return the root mean square of what a slight blur takes away, as a share of the contrast."""
    blurred = cv2.blur(grey, (_BLUR_PIXELS, _BLUR_PIXELS))
    removed = cv2.norm(grey, blurred, cv2.NORM_L2) / np.sqrt(grey.size)
    return float(removed / deviation) if deviation > 0 else 0.0


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
    return float(np.sqrt(((moved - TEMPLATE) ** 2).sum(axis=1).mean()))


_OF_LANDMARKS: tuple[tuple[_Range, Callable[[Points], float]], ...] = (
    # 58 and more as they are; shrunk to 20: 0.93 to 0.96, to 15: 0.81 to 0.92.
    (_Range(WarningReason.SMALL, low=20), _eye_distance),
    # Up to 0.17 as they are; 0.28 for a head turned by 30 degrees, 0.42 by 40, by its geometry.
    (_Range(WarningReason.NOT_FRONTAL, high=0.35), _nose_offset),
    # Up to 5.6 as they are; 23 with left and right swapped, 8.7 and more for random points.
    (_Range(WarningReason.LANDMARKS, high=10), _distance_to_template),
)
