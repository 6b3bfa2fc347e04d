"""The detectors that can find faces in photographs.

Each module in this package is one detector, with a function

    load(model: DetectorModel | None, running: Running) -> Detector

Adding a detector is adding such a module, and its name to the table. Only that module imports what
it needs, and only when the detector is asked for.
"""

import functools
import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2

from face_embedding_models import manifest, regular_files
from face_embedding_models.store import Store
from face_embedding_server.errors import OperatorError
from face_embedding_server.faces.face import Points
from face_embedding_server.faces.images import Image

# Photographs are searched at this size: the longer side in pixels.
SEARCH_SIDE = 640
# Whether or not what they need is installed.
NAMES = ("mtcnn", "yunet")
NONE = "none"
# The embedded detector where it is installed, and otherwise none.
AUTO = "auto"
_EMBEDDED = "mtcnn"


class DetectorError(OperatorError):
    """A detector cannot be loaded; the message says why and what to do."""


@dataclass(frozen=True)
class DetectorModel:
    """A detector's network, an ONNX file: what to call it, and what reads it."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Running:
    """How a detector's networks are run.

    Args:
        precision: f32 or bf16; bf16 is f32 where the processor lacks it.
        at_once: the number of images that are searched at a time, each by one thread.
    """

    precision: str = "f32"
    at_once: int = 1


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection:
    """A face that was found.

    Args:
        box: where it is; may reach beyond the image.
        landmarks: `[5, 2]`, x and y in pixels, in the order of `alignment.TEMPLATE`.
        score: how sure the detector is, 0 to 1.
        turned_degrees: how far the photograph was turned clockwise before, 0, 90, 180 or 270.
    """

    box: Box
    landmarks: Points
    score: float
    turned_degrees: int = 0


class Detector(Protocol):
    """Finds faces. Safe to use from any thread."""

    @property
    def name(self) -> str:
        """The detector's name, that of its module."""
        ...

    @property
    def sure_score(self) -> float:
        """The score from which a face is upright; nearly all upright ones reach it."""
        ...

    @property
    def unsure_score(self) -> float:
        """The score below which a face is rather none or not upright; hardly any good one is."""
        ...

    def detect(self, image_bgr: Image) -> list[Detection]:
        """Return the faces in an image of any size, uint8 HWC BGR, in any order."""
        ...


class CountingDetector:
    """A detector of which it is known how many images are inside, and how many came out."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self.sure_score = detector.sure_score
        self.unsure_score = detector.unsure_score
        self.inside = 0
        self.ended = 0
        self._detector = detector
        self._lock = threading.Lock()

    def detect(self, image_bgr: Image) -> list[Detection]:
        """See `Detector.detect`."""
        with self._lock:
            self.inside += 1
        try:
            return self._detector.detect(image_bgr)
        finally:
            with self._lock:
                self.inside -= 1
                self.ended += 1


def load(
    name: str, model_file: Path | None, store: Store | None = None, running: Running | None = None
) -> Detector | None:
    """Load a detector by its name, or `NONE` or `AUTO`.

    Args:
        name: its name.
        model_file: its network, where the user names one.
        store: has the networks of detectors that were installed; None for none.
        running: how it is run; None for one image at a time, at f32.

    Raises:
        DetectorError: if it is unknown, lacks its model, or what it needs is not installed.
        StoreError: if its network is not in the store, or was damaged.
    """
    if name == NONE:
        return None
    if name == AUTO:
        try:
            return load(_EMBEDDED, model_file, store, running)
        except DetectorError as error:
            if isinstance(error.__cause__, ImportError):
                return None
            raise
    if name not in NAMES:
        raise DetectorError(
            f"no detector is called '{name}'; known are {', '.join([*NAMES, NONE, AUTO])}"
        )
    try:
        module = importlib.import_module(f"{__name__}.{name}")
        loader: Callable[[DetectorModel | None, Running], Detector] = module.load
        return loader(_model_of(name, model_file, store), running or Running())
    except ImportError as error:
        raise DetectorError(
            f"what the detector '{name}' needs cannot be imported ({error}); install it with "
            f"pip install 'face-embedding[server,detect]', or run with --detector {NONE}"
        ) from error


def _model_of(name: str, model_file: Path | None, store: Store | None) -> DetectorModel | None:
    if model_file:
        return DetectorModel(str(model_file), functools.partial(_read_file, model_file))
    if store and name in manifest.detector_names():
        return DetectorModel(f"{name} in the store", store.get_detector(name).read_onnx_file)
    return None


def _read_file(path: Path) -> bytes:
    try:
        return regular_files.read(path, regular_files.DATA_BYTES)
    except FileNotFoundError as error:
        raise DetectorError(f"the detector's model {path} does not exist") from error
    except OSError as error:
        raise DetectorError(f"the detector's model cannot be read: {error}") from error


def find(detector: Detector, photograph_bgr: Image) -> list[Detection]:
    """Return the faces of a photograph, those with larger boxes first.

    A large photograph is searched at `SEARCH_SIDE`, so that the time is bounded; what is found is
    in pixels of the photograph.
    """
    scale = max(photograph_bgr.shape[:2]) / SEARCH_SIDE
    if scale > 1:
        height, width = (max(1, round(side / scale)) for side in photograph_bgr.shape[:2])
        searched = cv2.resize(photograph_bgr, (width, height), interpolation=cv2.INTER_AREA)
        found = [_scaled(face, scale) for face in detector.detect(searched)]  # type: ignore[arg-type]
    else:
        found = detector.detect(photograph_bgr)
    return sorted(found, key=lambda face: face.box.width * face.box.height, reverse=True)


def _scaled(face: Detection, scale: float) -> Detection:
    box = Box(*(scale * side for side in vars(face.box).values()))
    return replace(face, box=box, landmarks=scale * face.landmarks)
