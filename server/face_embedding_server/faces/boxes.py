"""Boxes that may be of the same face, as rows of left, top, right and bottom."""

from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

# `[N, 4]`, and a score or a number of a box for each.
Boxes: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = NDArray[Any]
Indices: TypeAlias = NDArray[np.intp]


def distinct(boxes: Boxes, scores: Scores, max_overlap: float) -> Indices:
    """Return the boxes that overlap with no better one, the best first.

    Args:
        boxes: float64 `[N, 4]`.
        scores: float32 `[N]`, above 0.
        max_overlap: the common area of two boxes of different faces, as a share of their union.
    """
    sides = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    # Of no boxes it returns no array.
    return np.array(cv2.dnn.NMSBoxes(sides, scores, 0, max_overlap), np.intp)  # type: ignore[arg-type]


def separate(boxes: Boxes, scores: Scores, max_overlap: float) -> list[int]:
    """Return the boxes of which no better one covers a part, the best first.

    Args:
        boxes: float64 `[N, 4]`, few.
        scores: `[N]`.
        max_overlap: the common area of two boxes of different faces, as a share of the smaller one.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    left = np.argsort(-scores, kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = np.prod(np.maximum(0, high - low), axis=1)
        left = left[common <= max_overlap * np.minimum(areas[best], areas[left])]
    return kept
