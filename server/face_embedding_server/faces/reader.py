"""From a face of a request to the aligned face that the network takes.

How a face is prepared is stated in the request: it is aligned, or its landmarks are given, or the
server finds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from face_embedding_models.manifest import Input
from face_embedding_server import context
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces import alignment, detectors, quality, selecting, turning
from face_embedding_server.faces.detectors import Detection, Detector
from face_embedding_server.faces.face import (
    Aligned,
    Detect,
    Face,
    Picture,
    Points,
    WithLandmarks,
)
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import Image, ImageReader, Pixels
from face_embedding_server.faces.quality import QualityWarning

# Landmarks of a face that is cut by the border can lie outside of the image, but not far.
_MAX_OUTSIDE = 1.0
_MIN_EXTENT_PIXELS = 1.0
# Around an aligned face in which the face is looked for, as a part of its width: detectors find few
# faces that fill an image.
_BORDER = 4


@dataclass(frozen=True)
class PreparedFace:
    """An aligned face and where it comes from.

    Args:
        pixels_bgr: HWC BGR, 0 to 255, of the network's input size.
        landmarks: `[5, 2]` in the photograph; None if the face came aligned.
        detection: what the detector found; None if it was not asked.
        faces_found: how many faces it found in the photograph; 0 if it was not asked.
        warnings: what the detector says against it, or against that it is aligned.
    """

    pixels_bgr: Pixels
    landmarks: Points | None = None
    detection: Detection | None = None
    faces_found: int = 0
    warnings: Sequence[QualityWarning] = ()


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

    def read(self, face: Face) -> list[PreparedFace]:
        """Return the faces that a request's face stands for: one, unless all were asked for.

        Raises:
            Refusal: if it is damaged, has another size, or is not found.
        """
        preparation = face.preparation
        if isinstance(preparation, Aligned):
            if preparation.check_alignment:
                return [self._read_checked(face.image)]
            return [PreparedFace(self._decode(face.image, self.size))]
        if isinstance(preparation, WithLandmarks):
            return [self._read_with_landmarks(face.image, preparation.landmarks)]
        return self._find(face.image, preparation)

    def decode(self, data: bytes) -> Image:
        """Return the aligned face in an image file.

        Raises:
            Refusal: if it is damaged or has another size.
        """
        return self.images.decode(data, self.size)

    def detect(self, picture: Picture, *, upright: bool) -> tuple[Image, list[Detection]]:
        """Return a photograph and its faces, those with larger boxes first.

        Args:
            picture: the photograph.
            upright: whether it is turned where it seems to be sideways.

        Raises:
            Refusal: if there is no detector, or the image cannot be read.
        """
        detector = self.require_detector()
        photograph = self._decode(picture)
        return photograph, _detect(detector, photograph, upright)

    def _decode(self, picture: Picture, only_size: ImageSize | None = None) -> Image:
        with context.stage(context.DECODE):
            return self.images.read(picture, only_size)

    def _align(self, photograph: Image, landmarks: Points) -> Image:
        with context.stage(context.ALIGN):
            return alignment.align(photograph, landmarks, self.size)

    def _read_checked(self, picture: Picture) -> PreparedFace:
        detector = self.require_detector("aligned.check_alignment")
        aligned = self._decode(picture, self.size)
        width = self.size.width
        border = width // _BORDER
        framed = np.pad(aligned, ((border, border), (border, border), (0, 0)))
        found = _detect(detector, framed, upright=False)
        landmarks = None
        if found:
            best = max(found, key=lambda face: face.score)
            landmarks = (best.landmarks - border) * alignment.TEMPLATE_SIDE / width
        return PreparedFace(aligned, warnings=quality.of_alignment(landmarks))

    def _read_with_landmarks(self, picture: Picture, landmarks: Points) -> PreparedFace:
        photograph = self._decode(picture)
        _check_landmarks(landmarks, photograph)
        return PreparedFace(self._align(photograph, landmarks), landmarks)

    def _find(self, picture: Picture, wanted: Detect) -> list[PreparedFace]:
        detector = self.require_detector()
        photograph = self._decode(picture)
        found = _detect(detector, photograph, wanted.upright)
        size = ImageSize(photograph.shape[1], photograph.shape[0])
        return [
            PreparedFace(
                self._align(photograph, each.landmarks),
                each.landmarks,
                each,
                len(found),
                quality.of_detection(each, detector.unsure_score),
            )
            for each in selecting.choose(found, wanted, size, self.max_faces)
        ]

    def require_detector(self, field: str = "detect") -> Detector:
        """Return the detector; without one, the field that asks for it is to blame.

        Raises:
            Refusal: if there is none.
        """
        if self.detector is None:
            raise Refusal(
                Reason.NO_DETECTOR,
                "this server runs without a detector: align the face or give its landmarks, or "
                "have the server started with one"
                if field == "detect"
                else "this server runs without a detector, so it cannot check an alignment: do "
                "without, or have the server started with one",
                field,
            )
        return self.detector


def _detect(detector: Detector, photograph: Image, upright: bool) -> list[Detection]:
    find = turning.find if upright else detectors.find
    with context.stage(context.DETECT):
        return find(detector, photograph)


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
        Reason.LANDMARKS_INVALID, f"these are not the landmarks of a face: {what}", field
    )
