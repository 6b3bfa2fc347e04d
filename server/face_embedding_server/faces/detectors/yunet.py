"""YuNet, from the store or from an ONNX file that the user names, run by OpenCV.

Source: Wu et al., "YuNet: a tiny millisecond-level face detector", 2023; OpenCV's FaceDetectorYN.
"""

import threading
from typing import Any

import cv2
import numpy as np

from face_embedding_server.faces.detectors import Box, Detection, DetectorError, DetectorModel
from face_embedding_server.faces.images import Image

_MIN_SCORE = 0.7
_NMS_OVERLAP = 0.3
_MAX_CANDIDATES = 5000
_TRIAL_SIDE = 64


class YunetDetector:
    """A network for each thread, since OpenCV's networks are not thread-safe."""

    name = "yunet"

    def __init__(self, model: DetectorModel) -> None:
        self._onnx = np.frombuffer(model.read(), np.uint8)
        self._local = threading.local()
        self._network()

    def detect(self, image_bgr: Image) -> list[Detection]:
        """Find faces; see `Detector.detect`."""
        network = self._network()
        network.setInputSize((image_bgr.shape[1], image_bgr.shape[0]))
        found: tuple[int, Any] = network.detect(image_bgr)
        rows = found[1]  # None if there is no face.
        # Each row: the box, five landmarks that begin with the person's right eye, which the
        # viewer sees on the left, and the score.
        return [
            Detection(Box(*row[:4]), np.array(row[4:14], np.float64).reshape(5, 2), row[14])
            for row in (() if rows is None else rows.tolist())
        ]

    def _network(self) -> cv2.FaceDetectorYN:
        try:
            network: cv2.FaceDetectorYN = self._local.network
        except AttributeError:
            network = self._local.network = cv2.FaceDetectorYN.create(
                "onnx",
                self._onnx,
                np.empty(0, np.uint8),
                (0, 0),
                _MIN_SCORE,
                _NMS_OVERLAP,
                _MAX_CANDIDATES,
            )
        return network


def load(model: DetectorModel | None) -> YunetDetector:
    """Load the detector; see `detectors.load`."""
    if model is None:
        raise DetectorError(
            "yunet needs its model: get it with 'face-embedding-server models "
            "install yunet', or name an ONNX file with --detector-model FILE"
        )
    try:
        detector = YunetDetector(model)
        # Any ONNX file loads; only YuNet's own gives faces.
        detector.detect(np.zeros((_TRIAL_SIDE, _TRIAL_SIDE, 3), np.uint8))
    except cv2.error as error:
        raise DetectorError(
            f"OpenCV cannot load {model.name} as a YuNet: {error.err or error}"
        ) from error
    return detector
