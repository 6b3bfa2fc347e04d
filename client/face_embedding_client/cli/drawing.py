"""Pictures: the faces of a photograph, and a matrix of similarities.

Needs Matplotlib, and Pillow, which comes with it; so this is imported where a picture is wanted.
"""

import dataclasses
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from face_embedding_client._types import Detection, Detections
from face_embedding_client.cli.usage import UsageError
from face_embedding_client.cli.writing import replaced

# It reads HEIC, where it is installed.
try:
    import pillow_heif
except ImportError:
    _READS_HEIC = False
else:
    _READS_HEIC = True
    pillow_heif.register_heif_opener()

_HEIF_EXTRA = "pip install 'face-embedding[heif]'"
_XMP = ("xmp", "XML:com.adobe.xmp")
_FONT = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
_BOX_COLOUR = (0, 230, 118)
_POINT_COLOUR = (255, 214, 0)
_EDGE_COLOUR = (0, 0, 0)
_SMALLEST_TEXT = 12
# Of a heat map: where values are written, sizes in inches, and of letters in points.
_MOST_WRITTEN = 20
_WRITTEN_CELL = 0.52
_BARE_CELL = 0.24
_MARGIN = 2.4
_MOST_CELLS = 36.0
_LETTERS = 10.0
_POINTS_PER_INCH = 72


def draw_faces(photograph: bytes, found: Detections, file: Path) -> None:
    """Write a photograph, upright, with the boxes, landmarks and scores of its faces.

    Raises:
        UsageError: if it is not read here, or not as the server reads it.
    """
    try:
        image = _upright(photograph)
    except Exception as error:  # Of files that it does not know or take, it raises many kinds.
        hint = "" if _READS_HEIC else f"; a HEIC needs {_HEIF_EXTRA}"
        raise UsageError(f"the photograph cannot be drawn: {error}{hint}") from error
    if image.size != (found.width, found.height):
        raise UsageError(
            f"the photograph cannot be drawn: it is read as {image.width}×{image.height} here, and "
            f"as {found.width}×{found.height} by the server"
        )
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut instead of scaling.
        image = image.convert("I").point(lambda value: value * (1 / 256))
    image = image.convert("RGB")
    pen = _Pen(image)
    # The largest face first, so that those in front of it stay visible.
    for number, face in enumerate(found.faces):
        pen.draw(face, f"#{number} {face.score:.3f}")
    with replaced(file) as drawn:
        image.save(drawn, "PNG")


def _upright(photograph: bytes) -> Image.Image:
    with Image.open(io.BytesIO(photograph)) as opened:
        # Servers take no orientation from XMP.
        for name in _XMP:
            opened.info.pop(name, None)
        return ImageOps.exif_transpose(opened)


class _Pen:
    """Draws faces with lines and letters that fit the size of an image."""

    def __init__(self, image: Image.Image) -> None:
        self._size = image.size
        self._line = max(1, round(min(image.size) / 240))
        text_size = max(_SMALLEST_TEXT, round(min(image.size) / 32))
        self._font = ImageFont.truetype(str(_FONT), text_size)
        self._draw = ImageDraw.Draw(image)

    def draw(self, face: Detection, text: str) -> None:
        """Draw the box of a face, its landmarks and a text above."""
        box = face.box
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        self._draw.rectangle(corners, outline=_BOX_COLOUR, width=self._line)
        radius = max(self._line, box.width / 50)
        for x, y in dataclasses.astuple(face.landmarks):
            around = (x - radius, y - radius, x + radius, y + radius)
            self._draw.ellipse(around, fill=_POINT_COLOUR, outline=_EDGE_COLOUR)
        self._write(box.left, box.top, text)

    def _write(self, left: float, bottom: float, text: str) -> None:
        """Write on a ground of the box's colour, moved into the image where it would leave it."""
        margin = 2 * self._line
        _, _, width, height = self._draw.textbbox((0, 0), text, font=self._font)
        width, height = width + 2 * margin, height + 2 * margin
        x = min(max(left, 0), max(self._size[0] - width, 0))
        y = min(max(bottom - height, 0), max(self._size[1] - height, 0))
        self._draw.rectangle((x, y, x + width, y + height), fill=_BOX_COLOUR)
        self._draw.text((x + margin, y + margin), text, fill=_EDGE_COLOUR, font=self._font)


def draw_matrix(names: Sequence[str], similarities: NDArray[np.float64], file: Path) -> None:
    """Write similarities as a heat map, with their values if there is room for them."""
    count = len(names)
    # Matplotlib takes no names that are no text.
    names = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    written = count <= _MOST_WRITTEN
    cell = min(_WRITTEN_CELL if written else _BARE_CELL, _MOST_CELLS / count)
    letters = min(_LETTERS, 0.7 * cell * _POINTS_PER_INCH)
    side = _MARGIN + count * cell
    figure = Figure(figsize=(side + 0.9, side), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    low = min(0.0, float(similarities.min()))
    heat = axes.imshow(similarities, cmap="viridis", vmin=low, vmax=1)
    figure.colorbar(heat, ax=axes, label="cosine similarity", shrink=0.8)
    # A dollar sign in a file's name is no formula.
    axes.set_xticks(range(count), names, rotation=90, fontsize=letters, parse_math=False)
    axes.set_yticks(range(count), names, fontsize=letters, parse_math=False)
    axes.tick_params(length=0)
    if written:
        middle = (low + 1) / 2
        for (row, column), value in np.ndenumerate(similarities):
            colour = "black" if value > middle else "white"
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8
            )
    with replaced(file) as drawn, warnings.catch_warnings():
        # What the font lacks is drawn as a box, and is in the table that is printed.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(drawn, format="png")
