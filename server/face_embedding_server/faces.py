"""From a face of a request to the aligned face that the network takes.

How a face is prepared is stated in the request: it is aligned, or its landmarks are given, or the
server finds it.
"""

from dataclasses import dataclass, field

import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.manifest import Input
from face_embedding_server import alignment, detectors
from face_embedding_server.alignment import Points
from face_embedding_server.backends import Pixels
from face_embedding_server.detectors import Detection, Detector
from face_embedding_server.errors import Refusal
from face_embedding_server.image_headers import ImageSize
from face_embedding_server.images import Image, ImageReader
from face_embedding_server.telemetry import current

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
_ONLY_ONE = (pb.FACE_SELECTION_UNSPECIFIED, pb.FACE_SELECTION_ONLY)
# Landmarks of a face that is cut by the border can lie outside of the image, but not far.
_MAX_OUTSIDE = 1.0
_MIN_EXTENT_PIXELS = 1.0


@dataclass(frozen=True)
class PreparedFace:
    """An aligned face and where it comes from.

    Args:
        pixels_bgr: HWC BGR, 0 to 255, of the network's input size.
        landmarks: `[5, 2]` in the photograph; None if the face came aligned.
        detection: what the detector found; None if it was not asked.
    """

    pixels_bgr: Pixels
    landmarks: Points | None = None
    detection: Detection | None = None


@dataclass(frozen=True)
class FaceReader:
    """Reads and prepares faces.

    Args:
        size: the size of an aligned face.
        images: reads their images.
        detector: finds faces in photographs; None where there is none.
        max_faces: the most faces of one photograph.
    """

    size: ImageSize
    images: ImageReader = field(default_factory=ImageReader)
    detector: Detector | None = None
    max_faces: int = 1

    @classmethod
    def of(cls, size: Input) -> "FaceReader":
        """Return a reader of aligned faces for a network's input."""
        return cls(ImageSize(size.width, size.height))

    def read(self, face: pb.Face) -> list[PreparedFace]:
        """Return the faces that a request's face stands for: one, unless all were asked for.

        Raises:
            Refusal: if the face lacks something, is damaged, has another size, or is not found.
        """
        preparation = face.WhichOneof("preparation")
        if preparation == "aligned":
            return [PreparedFace(self._decode(face, self.size))]
        if preparation == "landmarks":
            return [self._read_with_landmarks(face)]
        if preparation == "detect":
            return self._find(face)
        raise Refusal(
            pb.ERROR_REASON_FIELD_MISSING,
            "say how the face is prepared: set 'aligned' if the image is the aligned face, "
            "'landmarks' or 'detect' if it is a photograph",
            "preparation",
        )

    def decode(self, data: bytes) -> Image:
        """Return the aligned face in an image file.

        Raises:
            Refusal: if it is damaged or has another size.
        """
        return self.images.decode(data, self.size)

    def detect(self, request: pb.DetectRequest) -> tuple[Image, list[Detection]]:
        """Return a photograph and its faces, those with larger boxes first.

        Raises:
            Refusal: if there is no detector, or the image cannot be read.
        """
        detector = self._require_detector()
        photograph = self._decode(request)
        return photograph, _detect(detector, photograph)

    def _decode(
        self, message: pb.Face | pb.DetectRequest, only_size: ImageSize | None = None
    ) -> Image:
        with current.stage(current.DECODE):
            return self.images.read(message, only_size)

    def _align(
        self, photograph: Image, landmarks: Points, detection: Detection | None = None
    ) -> PreparedFace:
        with current.stage(current.ALIGN):
            aligned = alignment.align(photograph, landmarks, self.size)
        return PreparedFace(aligned, landmarks, detection)

    def _read_with_landmarks(self, face: pb.Face) -> PreparedFace:
        landmarks = _points(face.landmarks)
        photograph = self._decode(face)
        _check_landmarks(landmarks, photograph)
        return self._align(photograph, landmarks)

    def _find(self, face: pb.Face) -> list[PreparedFace]:
        detector = self._require_detector()
        selection = face.detect.selection
        if selection not in pb.FaceSelection.values():
            raise Refusal(
                pb.ERROR_REASON_FACE_SELECTION,
                f"{selection} is not a FaceSelection",
                "detect.selection",
            )
        photograph = self._decode(face)
        found = _detect(detector, photograph)
        if not found:
            raise Refusal(
                pb.ERROR_REASON_NO_FACE_FOUND,
                "no face was found in the photograph; is there one, upright and large enough?",
                "detect",
            )
        if selection in _ONLY_ONE and len(found) > 1:
            raise Refusal(
                pb.ERROR_REASON_SEVERAL_FACES,
                f"{len(found)} faces were found where one was asked for: crop the photograph, or "
                f"ask for the largest face or for all",
                "detect",
            )
        wanted = found[: self.max_faces] if selection == pb.FACE_SELECTION_ALL else found[:1]
        return [self._align(photograph, each.landmarks, each) for each in wanted]

    def _require_detector(self) -> Detector:
        if self.detector is None:
            raise Refusal(
                pb.ERROR_REASON_NO_DETECTOR,
                "this server runs without a detector: align the face or give its landmarks, or "
                "have the server started with one",
                "detect",
            )
        return self.detector


def is_photograph(face: pb.Face) -> bool:
    """Return whether a face has to be found or aligned, which takes longer than to embed it."""
    return face.WhichOneof("preparation") in ("landmarks", "detect")


def _detect(detector: Detector, photograph: Image) -> list[Detection]:
    with current.stage(current.DETECT):
        return detectors.find(detector, photograph)


def _points(landmarks: pb.Landmarks) -> Points:
    for name in LANDMARKS:
        if not landmarks.HasField(name):
            raise _invalid(f"'{name}' is missing", f"landmarks.{name}")
    points = [getattr(landmarks, name) for name in LANDMARKS]
    return np.array([(point.x, point.y) for point in points], np.float64)


def _check_landmarks(landmarks: Points, photograph: Image) -> None:
    size = np.array([photograph.shape[1], photograph.shape[0]])
    if not np.isfinite(landmarks).all():
        raise _invalid("one is not a finite number", "landmarks")
    if (landmarks < -_MAX_OUTSIDE * size).any() or (landmarks > (1 + _MAX_OUTSIDE) * size).any():
        raise _invalid(
            f"one is far outside of the image, which has {size[0]}×{size[1]} pixels; landmarks are "
            f"pixels of the image as viewers show it",
            "landmarks",
        )
    if np.ptp(landmarks, axis=0).max() < _MIN_EXTENT_PIXELS:
        raise _invalid("they all lie on one point", "landmarks")


def _invalid(what: str, field: str) -> Refusal:
    return Refusal(
        pb.ERROR_REASON_LANDMARKS_INVALID, f"these are not the landmarks of a face: {what}", field
    )
