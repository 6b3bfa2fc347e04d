"""A face of a request, before it is read: an image, and how the face in it is to be prepared."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.manifest import ChannelOrder

# Landmarks, float64 `[5, 2]`: x and y in pixels, in the order of `LANDMARKS`.
Points: TypeAlias = NDArray[np.float64]
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file, of a format that `headers` knows."""

    data: bytes


@dataclass(frozen=True)
class RawImage:
    """Pixels, uint8 `[height, width, 3]`, and the order of their channels."""

    pixels: NDArray[np.uint8]
    channel_order: ChannelOrder


Picture: TypeAlias = EncodedImage | RawImage


class Selection(Enum):
    """Which of the faces of a photograph are meant."""

    ONLY = auto()
    LARGEST = auto()
    CENTRAL = auto()
    ALL = auto()


@dataclass(frozen=True)
class Aligned:
    """The image is an aligned face.

    Args:
        check_alignment: whether the detector shall look if it is.
    """

    check_alignment: bool = False


@dataclass(frozen=True)
class WithLandmarks:
    """The image is a photograph, and the face is at these landmarks, `[5, 2]` in pixels."""

    landmarks: Points


@dataclass(frozen=True)
class Detect:
    """The image is a photograph, and the face has to be found.

    Args:
        selection: which of its faces is meant.
        upright: whether the photograph is turned where it seems to be sideways.
    """

    selection: Selection = Selection.ONLY
    upright: bool = False


Preparation: TypeAlias = Aligned | WithLandmarks | Detect


@dataclass(frozen=True)
class Face:
    """An image, and how the face in it is to be prepared."""

    image: Picture
    preparation: Preparation

    @property
    def is_photograph(self) -> bool:
        """Whether the face has to be looked for or aligned, which takes longer than to embed it."""
        preparation = self.preparation
        return not isinstance(preparation, Aligned) or preparation.check_alignment

    @property
    def asks_for_all(self) -> bool:
        """Whether it stands for any number of faces."""
        wanted = self.preparation
        return isinstance(wanted, Detect) and wanted.selection is Selection.ALL
