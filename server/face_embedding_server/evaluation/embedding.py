"""Embedding many images."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.store import Store
from face_embedding_server import detectors, serving
from face_embedding_server.embeddings import Vector
from face_embedding_server.errors import OperatorError, Refusal
from face_embedding_server.images import ImageReader
from face_embedding_server.machine import available_cpus
from face_embedding_server.settings import Settings

_AT_A_TIME = 4 * available_cpus()


class EmbeddingError(OperatorError):
    """Images cannot be embedded; the message says why."""


@dataclass(frozen=True)
class Embedder:
    """Embeds faces.

    Args:
        info: the model that does it.
        embed: returns the raw embedding of a face, float32 `[size]`, or raises `Refusal`.
    """

    info: pb.GetModelInfoResponse
    embed: Callable[[pb.Face], Vector]


@dataclass(frozen=True)
class Embedded:
    """What became of images.

    Args:
        raw: float64 `[images, size]`; zero where there is none.
        errors: why an image has none, by its index.
    """

    raw: NDArray[np.float64]
    errors: dict[int, str]

    @property
    def unit(self) -> NDArray[np.float64]:
        """The embeddings at length 1; zero where there is none."""
        norms = np.linalg.norm(self.raw, axis=1, keepdims=True)
        unit: NDArray[np.float64] = self.raw / np.where(norms > 0, norms, 1)
        return unit

    def with_mirror_images(self, mirrored: "Embedded") -> "Embedded":
        """Return the sums with the raw embeddings of the mirror images, as InsightFace for LFW."""
        return Embedded(self.raw + mirrored.raw, mirrored.errors | self.errors)


@contextlib.contextmanager
def in_process(settings: Settings) -> Iterator[Embedder]:
    """Load a model into this process."""
    store = Store(settings.store)
    detector = detectors.load(settings.detector, settings.detector_model, store)
    model = serving.load(store.get(settings.model), settings, detector, None)
    try:
        yield Embedder(model.info, lambda face: model.embed(face)[0].raw)
    finally:
        model.backend.close()


def embed_images(
    embedder: Embedder, images: Sequence[bytes], *, detect: bool, mirror: bool = False
) -> Embedded:
    """Embed image files, with a progress bar.

    Args:
        embedder: does it.
        images: the files' bytes.
        detect: whether they are photographs, of which the largest face is taken, and not aligned
            faces.
        mirror: whether to embed their mirror images instead.

    Raises:
        EmbeddingError: if no image could be embedded.
    """
    work = functools.partial(_embed, embedder, detect, mirror)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        done = pool.map(work, images)
        # None: where there is a terminal to draw on.
        outcomes = list(tqdm(done, total=len(images), unit="image", leave=False, disable=None))
    errors = {index: each for index, each in enumerate(outcomes) if isinstance(each, str)}
    if errors and len(errors) == len(images):
        raise EmbeddingError(f"no image could be embedded; the first one: {errors[0]}")
    raw = np.zeros((len(images), embedder.info.embedding_size))
    for index, each in enumerate(outcomes):
        if not isinstance(each, str):
            raw[index] = each
    return Embedded(raw, errors)


def _embed(embedder: Embedder, detect: bool, mirror: bool, image: bytes) -> Vector | str:
    try:
        if not mirror:
            return embedder.embed(_face(detect, encoded=image))
        mirrored = cv2.flip(ImageReader().decode(image), 1)
        pixels = pb.RawImage(
            data=mirrored.tobytes(),
            width=mirrored.shape[1],
            height=mirrored.shape[0],
            channel_order=pb.CHANNEL_ORDER_BGR,
        )
        return embedder.embed(_face(detect, raw=pixels))
    except Refusal as refusal:
        return str(refusal)


def _face(detect: bool, **image: bytes | pb.RawImage) -> pb.Face:
    if detect:
        largest = pb.DetectFace(selection=pb.FACE_SELECTION_LARGEST)
        return pb.Face(detect=largest, **image)  # type: ignore[arg-type]  # one of its images
    return pb.Face(aligned=pb.Aligned(), **image)  # type: ignore[arg-type]
