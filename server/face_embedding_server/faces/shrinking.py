"""Makes many small images of one: of the whole of it, and of parts."""

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from face_embedding_server.faces.images import CHANNELS, Image

Floats = NDArray[np.float32]
# Parts with more rows are made smaller faster by sums than by OpenCV.
_MANY_ROWS = 96


class Shrinkable:
    """An image of which many small ones are made, each pixel the mean of its area.

    OpenCV reads a whole part for each. Here the sums of all rows above each are made once, and rows
    of any height are their differences: eight sizes of a photograph of 640×480 take 1.5 ms instead
    of 3.5, and two pixels in a thousand are another.

    It is of use to the thread that made it, until that makes the next one.

    Args:
        image: uint8 `[height, width, 3]`.
    """

    def __init__(self, image: Image) -> None:
        self.height, self.width = image.shape[:2]
        buffers = _buffers(self.height, self.width)
        self._pixels, self._sums = buffers.pixels, buffers.sums
        self._pixels[:] = image
        # To the left as well, as OpenCV has it, in int32; those of a column are exact in float32.
        cv2.integral(image, buffers.corners)
        corners = buffers.corners.reshape(self.height + 1, -1)
        np.subtract(corners[:, CHANNELS:], corners[:, :-CHANNELS], out=buffers.whole)
        self._sums[:] = buffers.whole

    def shrunk(self, part: tuple[int, int, int, int], height: int, width: int) -> Floats:
        """Return a part of the image in another size.

        Args:
            part: its first row and column, and those that come after its last. What is beyond the
                image is black; some of it is not.
            height: of what is returned, in pixels.
            width: the same.

        Returns:
            float32 `[height, width, 3]`, 0 to 255.
        """
        top, left, bottom, right = part
        columns = slice(max(0, left), min(self.width, right))
        above, below = max(0, -top), max(0, bottom - self.height)
        beside = (max(0, -left), max(0, right - self.width))
        if bottom - top > max(_MANY_ROWS, height):
            rows = self._rows(top, bottom, height, columns)
            above = below = 0
        else:
            rows = self._pixels[max(0, top) : min(self.height, bottom), columns]
        if any((above, below, *beside)):
            rows = cv2.copyMakeBorder(rows, above, below, *beside, cv2.BORDER_CONSTANT)  # type: ignore[assignment]  # it is float32
        return cv2.resize(rows, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]  # it is float32

    def _rows(self, top: int, bottom: int, height: int, columns: slice) -> Floats:
        """Return a part of the image with fewer rows."""
        step = (bottom - top) / height
        edges = np.clip(top + step * np.arange(height + 1), 0, self.height)
        above = np.minimum(edges.astype(np.intp), self.height - 1)
        sums: Floats = self._sums[above, columns.start * CHANNELS : columns.stop * CHANNELS]
        rest: Floats = self._sums[above + 1, columns.start * CHANNELS : columns.stop * CHANNELS]
        rest -= sums
        rest *= (edges - above).astype(np.float32)[:, np.newaxis]
        sums += rest
        rows: Floats = np.subtract(sums[1:], sums[:-1], out=rest[1:])
        rows *= np.float32(1 / step)
        return rows.reshape(height, -1, CHANNELS)


class _Buffers:
    """Memory for images of one size, kept, as to get that much anew takes longer than to use it."""

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)
        self.pixels = np.empty((height, width, CHANNELS), np.float32)
        self.corners = np.empty((height + 1, width + 1, CHANNELS), np.int32)
        self.whole = np.empty((height + 1, width * CHANNELS), np.int32)
        self.sums = np.empty((height + 1, width * CHANNELS), np.float32)


_local = threading.local()


def _buffers(height: int, width: int) -> _Buffers:
    """Return the calling thread's buffers."""
    buffers: _Buffers | None = getattr(_local, "buffers", None)
    if buffers is None or buffers.size != (height, width):
        buffers = _local.buffers = _Buffers(height, width)
    return buffers
