"""Parity: whether two backends give the same embeddings for the same faces.

It proves the channel order as well: with red and blue swapped for one backend, the same comparison
has to fail. If it passed, it would have proven nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from face_embedding_models.manifest import Parity
from face_embedding_models.sample_faces import NamedFace
from face_embedding_models.similarity import comparable
from face_embedding_server.errors import OperatorError, Refusal
from face_embedding_server.evaluation import folders
from face_embedding_server.evaluation.left_out import LeftOut
from face_embedding_server.faces import headers
from face_embedding_server.faces.images import swap_red_and_blue
from face_embedding_server.faces.reader import FaceReader
from face_embedding_server.inference.agreement import Comparison, Embeddings, compare
from face_embedding_server.inference.backends import Backend


class ParityInputError(OperatorError):
    """The faces for a parity run cannot be read; the message names the file."""


@dataclass(frozen=True)
class Report:
    """The result of a parity run."""

    straight: Comparison
    swapped: Comparison

    @property
    def channel_order_proven(self) -> bool:
        """Whether swapping red and blue is noticed."""
        return not self.swapped.passed

    @property
    def passed(self) -> bool:
        """Whether the backends agree, and would not with red and blue swapped."""
        return self.straight.passed and self.channel_order_proven

    def as_json(self) -> dict[str, Any]:
        """Return the report in the form of the command's `--json`."""
        return {
            "passed": self.passed,
            "min_cosine": self.straight.min_cosine,
            "max_abs_difference": self.straight.max_abs_difference,
            "max_scaled_difference": self.straight.max_scaled_difference,
            "tolerances": asdict(self.straight.tolerances),
            "channel_order_proven": self.channel_order_proven,
            "swapped_min_cosine": self.swapped.min_cosine,
            "swapped_max_abs_difference": self.swapped.max_abs_difference,
            "faces": [asdict(face) for face in self.straight.faces],
        }


def run(
    reference: Backend, candidate: Backend, faces: Sequence[NamedFace], tolerances: Parity
) -> Report:
    """Embed faces with two backends and compare, as they are and with red and blue swapped.

    Raises:
        ParityInputError: if a face has no embedding that can be compared.
    """
    expected = _embed(reference, faces)
    swapped = [NamedFace(face.name, swap_red_and_blue(face.pixels_bgr)) for face in faces]
    names = [face.name for face in faces]
    return Report(
        compare(names, expected, _embed(candidate, faces), tolerances),
        compare(names, expected, _embed(candidate, swapped), tolerances),
    )


def read_faces(folder: Path, reader: FaceReader) -> tuple[list[NamedFace], dict[str, LeftOut]]:
    """Return the aligned faces of a folder, and what is left out of it.

    Raises:
        ParityInputError: if there is none, or one is not an aligned face.
    """
    try:
        images, left_out = folders.read(folder)
    except OSError as error:
        raise ParityInputError(f"the folder {folder} cannot be read: {error}") from error
    if not images:
        raise ParityInputError(f"the folder {folder} holds no {headers.NAMES} file")
    faces = []
    for name, data in images.items():
        try:
            faces.append(NamedFace(name, reader.decode(data)))
        except Refusal as error:
            raise ParityInputError(f"{folder / name}: {error}") from error
    return faces, left_out


def _embed(backend: Backend, faces: Sequence[NamedFace]) -> Embeddings:
    embeddings = np.stack([backend.embed(face.pixels_bgr) for face in faces])
    for face, is_comparable in zip(faces, comparable(embeddings), strict=True):
        if not is_comparable:
            raise ParityInputError(
                f"the network's embedding of {face.name} is zero or not finite, and cannot be "
                f"compared: leave the image out, or mend the network"
            )
    return embeddings
