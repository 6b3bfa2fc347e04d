"""YuNet, from the store or from an ONNX file that the user names.

Source: Wu et al., "YuNet: a tiny millisecond-level face detector", 2023. What its outputs mean, and
what is made of them, is as in OpenCV's FaceDetectorYN.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from face_embedding_server.faces.boxes import distinct
from face_embedding_server.faces.detectors import (
    Box,
    Detection,
    DetectorError,
    DetectorModel,
    Running,
)
from face_embedding_server.faces.images import CHANNELS, Image
from face_embedding_server.faces.networks import Form, Network, NetworkError

_MIN_SCORE = 0.7
# Of 420 faces of LFW and others 409 reach the first, and 419 the second. Of the 694 that are found
# once these photographs are turned by quarters, none reaches the first, and 19 the second.
_SURE_SCORE, _UNSURE_SCORE = 0.905, 0.89
_MAX_OVERLAP = 0.3
# The network looks at cells of these sides, and gives for each whether it sees a face, whether it
# sees anything, a box, and five points, all in sides of the cell.
_STRIDES = (8, 16, 32)
_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_OUTPUTS = {
    f"{kind}_{stride}": (1, -1, values) for stride in _STRIDES for kind, values in _VALUES.items()
}
_TRIAL_SIDE = 64


class YunetDetector:
    """The network."""

    name = "yunet"
    sure_score = _SURE_SCORE
    unsure_score = _UNSURE_SCORE

    def __init__(self, onnx: bytes, running: Running) -> None:
        form = Form("NCHW", (1, CHANNELS, -1, -1), _OUTPUTS)
        self._network = Network(onnx, form, running)

    def detect(self, image_bgr: Image) -> list[Detection]:
        """Find faces; see `Detector.detect`."""
        largest = _STRIDES[-1]
        height, width = (math.ceil(side / largest) * largest for side in image_bgr.shape[:2])
        canvas = np.zeros((1, height, width, CHANNELS), np.float32)
        canvas[0, : image_bgr.shape[0], : image_bgr.shape[1]] = image_bgr
        rows = np.concatenate(list(_seen(self._network.run(canvas), height, width)))
        # Each row: the corners of the box, five points that begin with the person's right eye,
        # which the viewer sees on the left, and the score.
        kept = distinct(rows[:, :4], rows[:, -1], _MAX_OVERLAP)
        return [
            Detection(
                Box(*row[:2].tolist(), *(row[2:4] - row[:2]).tolist()),
                row[4:-1].reshape(5, 2),
                float(row[-1]),
            )
            for row in rows[kept]
        ]


def _seen(
    outputs: list[NDArray[np.float32]], height: int, width: int
) -> Iterator[NDArray[np.float64]]:
    """Return the cells of each side in which a face is seen, `[N, 15]`."""
    for index, stride in enumerate(_STRIDES):
        cls, obj, bbox, kps = (output[0] for output in outputs[4 * index : 4 * index + 4])
        faces, things = (np.clip(each[:, 0], 0, 1) for each in (cls, obj))
        if len(faces) != height * width // stride**2:
            raise NetworkError(f"it gives {len(faces)} values for cells of {stride} pixels")
        scores = np.sqrt(faces * things)
        (at,) = np.nonzero(scores >= _MIN_SCORE)
        corners = np.stack(np.divmod(at, width // stride)[::-1], axis=1)
        centres = corners + bbox[at, :2]
        half = np.exp(bbox[at, 2:].astype(np.float64)) / 2
        points = (kps[at].reshape(-1, 5, 2) + corners[:, np.newaxis]).reshape(-1, 10)
        places = stride * np.hstack([centres - half, centres + half, points])
        yield np.hstack([places, scores[at, np.newaxis]])


def load(model: DetectorModel | None, running: Running) -> YunetDetector:
    """Load the detector; see `detectors.load`."""
    if model is None:
        raise DetectorError(
            "yunet needs its model: get it with 'face-embedding-server models "
            "install yunet', or name an ONNX file with --detector-model FILE"
        )
    try:
        detector = YunetDetector(model.read(), running)
        # That the outputs are those of YuNet's cells shows when it runs.
        detector.detect(np.zeros((_TRIAL_SIDE, _TRIAL_SIDE, CHANNELS), np.uint8))
    except NetworkError as error:
        raise DetectorError(f"OpenVINO cannot load {model.name} as a YuNet: {error}") from error
    return detector
