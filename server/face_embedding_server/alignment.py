"""Aligning a face by its five landmarks, as ArcFace's training images were.

Without it embeddings are useless: with the trained weights, labelled pairs of photographs separate
perfectly when aligned and hardly at all when the photograph is only resized.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from face_embedding_server.images import Face

Points = NDArray[np.float64]

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


def align(photograph_bgr: Face, landmarks: Points) -> Face:
    """Warp a photograph so that its landmarks come to lie on the template.

    Args:
        photograph_bgr: uint8 HWC, of any size.
        landmarks: `[5, 2]`, x and y in pixels, in the order of `TEMPLATE`.

    Returns:
        The aligned face, uint8 `[112, 112, 3]`, channels as in the photograph.
    """
    transform = similarity_transform(landmarks, TEMPLATE)
    side = (TEMPLATE_SIDE, TEMPLATE_SIDE)
    return cv2.warpAffine(photograph_bgr, transform, side).astype(np.uint8, copy=False)


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
