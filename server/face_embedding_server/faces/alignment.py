"""Aligning a face by its five landmarks, as ArcFace's training images were.

Without it embeddings are useless: with the trained weights, labelled pairs of photographs separate
perfectly when aligned and hardly at all when the photograph is only resized.
"""

import math

import cv2
import numpy as np

from face_embedding_server.faces.face import Points
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import Image

# Left eye, right eye, nose, left and right corner of the mouth, as seen in the image, x and y in
# pixels of a 112×112 face. Source: `arcface_src` in `insightface/utils/face_align.py`.
TEMPLATE_SIDE = 112
TEMPLATE: Points = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
# A face that is larger than this many times the aligned one is shrunk by area before it is warped:
# the warp alone looks at four pixels for each of its own, and would leave out what is between.
_MAX_WARP_SHRINKAGE = 4.0


def align(photograph_bgr: Image, landmarks: Points, size: ImageSize) -> Image:
    """Warp a photograph so that its landmarks come to lie on the template.

    Args:
        photograph_bgr: uint8 HWC, of any size.
        landmarks: `[5, 2]`, x and y in pixels, in the order of `TEMPLATE`.
        size: the size of the aligned face.

    Returns:
        The aligned face, uint8 `[height, width, 3]`, channels as in the photograph; black where the
        photograph does not reach.
    """
    target = TEMPLATE * (size.width / TEMPLATE_SIDE, size.height / TEMPLATE_SIDE)
    transform = similarity_transform(landmarks, target)
    shrinkage = 1 / np.sqrt(np.linalg.det(transform[:, :2]))
    if shrinkage > _MAX_WARP_SHRINKAGE:
        photograph_bgr, transform = _shrunk(photograph_bgr, transform, shrinkage, size)
    warped = cv2.warpAffine(photograph_bgr, transform, (size.width, size.height))
    return warped.astype(np.uint8, copy=False)


def similarity_transform(source: Points, target: Points) -> Points:
    """Return the rotation, scaling and shift that bring points closest to others.

    Args:
        source: `[n, 2]`.
        target: `[n, 2]`.

    Returns:
        `[2, 3]`, to be multiplied with (x, y, 1): the least squares solution.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred, centred_target = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(centred_target.T @ centred / len(source))
    # A mirror image fits no face: the determinant of the rotation has to be 1.
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * signs) @ vt
    scale = (singular @ signs) / centred.var(axis=0).sum()
    shift = target_mean - scale * rotation @ source_mean
    return np.column_stack([scale * rotation, shift])


def turn_degrees(landmarks: Points) -> float:
    """Return how far a face is turned clockwise, from -180 to 180 degrees.

    Args:
        landmarks: `[5, 2]`.
    """
    rotation = similarity_transform(TEMPLATE, landmarks)
    return math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))


def _shrunk(
    photograph_bgr: Image, transform: Points, shrinkage: float, size: ImageSize
) -> tuple[Image, Points]:
    """Return the part of a photograph that a transform shows, shrunk, and the transform for it."""
    corners = np.array([(0, 0), (size.width, 0), (0, size.height), (size.width, size.height)])
    linear, shift = transform[:, :2], transform[:, 2]
    seen = (corners - shift) @ np.linalg.inv(linear).T
    limits = (photograph_bgr.shape[1], photograph_bgr.shape[0])
    margin = 2 * shrinkage
    left, top = np.clip(np.floor(seen.min(axis=0) - margin), 0, limits).astype(int)
    right, bottom = np.clip(np.ceil(seen.max(axis=0) + margin), 0, limits).astype(int)
    part = photograph_bgr[top:bottom, left:right]
    if part.size == 0:
        return photograph_bgr, transform
    width, height = (max(1, round(side / shrinkage)) for side in (right - left, bottom - top))
    factors = np.array([(right - left) / width, (bottom - top) / height])
    # Pixels are areas: the centre of the first one is at 0, so its edge is at -1/2.
    origin = np.array([left, top]) + (factors - 1) / 2
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False), np.column_stack(
        [linear * factors, linear @ origin + shift]
    )
