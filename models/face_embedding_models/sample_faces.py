"""A small deterministic set of drawn faces, for golden embeddings, warming up and parity.

They are no photographs, and need not be: what matters is that they have edges, gradients and
different values in each channel, so that every part of a network is used and swapped channels
show.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# Skin, background and shirt as BGR, and the positions that make one face differ from another.
_PALETTE = (
    ((140, 170, 220), (60, 40, 20), (160, 60, 30)),
    ((90, 120, 170), (200, 180, 90), (40, 40, 150)),
    ((60, 80, 110), (90, 140, 70), (200, 210, 60)),
    ((170, 195, 235), (30, 60, 120), (70, 20, 90)),
    ((115, 145, 200), (150, 150, 160), (20, 110, 40)),
    ((75, 100, 140), (20, 30, 40), (220, 220, 230)),
)


@dataclass(frozen=True)
class NamedFace:
    """An aligned face, uint8 HWC BGR, and what to call it in a report."""

    name: str
    pixels_bgr: Image


def sample_faces(width: int, height: int) -> list[NamedFace]:
    """Return the drawn faces at a size in pixels, the same ones every time."""
    return [
        NamedFace(f"drawn-{number}", _draw(number, width, height))
        for number in range(len(_PALETTE))
    ]


def altered_faces(width: int, height: int) -> tuple[Image, list[NamedFace]]:
    """Return a drawn face, and the same with a part changed, each called by what was changed.

    A channel, or a ninth of the face, is that of another drawn face; or the face is upside down.
    """
    # Of these two, the published MobileFaceNet's embedding changes most with the least part.
    face, other = _draw(2, width, height), _draw(3, width, height)
    rows, columns = (
        [slice(size * third // 3, size * (third + 1) // 3) for third in range(3)]
        for size in (height, width)
    )
    parts: dict[str, tuple[slice | int, ...]] = {
        f"its {name} channel is another's": (slice(None), slice(None), channel)
        for channel, name in enumerate(("blue", "green", "red"))
    } | {
        f"its {down} {across} is another's": (row, column)
        for down, row in zip(("upper", "middle", "lower"), rows, strict=True)
        for across, column in zip(("left", "middle", "right"), columns, strict=True)
    }
    changed = [NamedFace("it is upside down", face[::-1].copy())]
    for name, part in parts.items():
        pixels = face.copy()
        pixels[part] = other[part]
        changed.append(NamedFace(name, pixels))
    return face, changed


def _draw(number: int, width: int, height: int) -> Image:
    skin, background, shirt = (np.array(colour, np.float64) for colour in _PALETTE[number])
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = x / width, y / height
    # Lit from one side, and by a pattern that is a different one in each channel.
    waves = np.stack([np.sin((number + 5) * (c + 1) * x + 9 * y) for c in range(3)], axis=-1)
    image = background + 25 * waves
    image[y > 0.92] = shirt
    face = _ellipse(x, y, 0.5, 0.52, 0.36 + 0.02 * (number % 3), 0.48)
    image[face] = (skin + 30 * (x[..., None] - 0.5) + 8 * waves)[face]
    eye_y, mouth_y = 0.46 + 0.01 * (number % 2), 0.82 - 0.01 * (number % 4)
    for eye_x in (0.34, 0.66):
        image[_ellipse(x, y, eye_x, eye_y, 0.07, 0.035)] = (235, 235, 235)
        image[_ellipse(x, y, eye_x, eye_y, 0.03, 0.03)] = background * 0.5
    image[_ellipse(x, y, 0.5, 0.64, 0.04 + 0.01 * (number % 3), 0.05)] *= 0.85
    image[_ellipse(x, y, 0.5, mouth_y, 0.12 + 0.02 * (number % 3), 0.03)] = (70, 60, 160)
    pixels: Image = np.clip(image, 0, 255).round().astype(np.uint8)
    return pixels


def _ellipse(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    centre_x: float,
    centre_y: float,
    radius_x: float,
    radius_y: float,
) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = ((x - centre_x) / radius_x) ** 2 + (
        (y - centre_y) / radius_y
    ) ** 2 <= 1
    return inside
