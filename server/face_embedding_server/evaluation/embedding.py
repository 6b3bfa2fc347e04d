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

from face_embedding_models.store import Store
from face_embedding_server.errors import OperatorError, Refusal
from face_embedding_server.evaluation.left_out import LeftOut
from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import Running
from face_embedding_server.faces.face import EncodedImage, Face, Preparation, RawImage
from face_embedding_server.faces.images import Image, ImageReader
from face_embedding_server.inference import loading, threads
from face_embedding_server.inference.embeddings import Vector
from face_embedding_server.settings import Settings

# Of a network that fails on some faces.
_NO_EMBEDDING = "NO_EMBEDDING"


class EmbeddingError(OperatorError):
    """Images cannot be embedded; the message says why."""


class UnusableImageError(Exception):
    """One image cannot be embedded; the message says why, and the reason is the contract's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Evaluated:
    """What embeds: the model and what runs it, as a report names them."""

    name: str
    backend: str
    precision: str
    detector: str
    embedding_space: str
    embedding_size: int
    weights_note: str


@dataclass(frozen=True)
class Embedder:
    """Embeds faces.

    Args:
        info: the model that does it.
        embed: returns the raw embedding of a face, float32 `[size]`, or raises
            `UnusableImageError`.
    """

    info: Evaluated
    embed: Callable[[Face], Vector]


@dataclass(frozen=True)
class Embedded:
    """What became of images.

    Args:
        raw: float64 `[images, size]`; zero where there is none.
        errors: why an image has none, by its index.
    """

    raw: NDArray[np.float64]
    errors: dict[int, LeftOut]

    @property
    def unit(self) -> NDArray[np.float64]:
        """The embeddings at length 1; zero where there is none."""
        norms = np.linalg.norm(self.raw, axis=1, keepdims=True)
        unit: NDArray[np.float64] = self.raw / np.where(norms > 0, norms, 1)
        return unit

    def with_mirror_images(self, mirrored: "Embedded") -> "Embedded":
        """Return the sums with the raw embeddings of the mirror images, as InsightFace for LFW."""
        errors = {
            index: LeftOut(each.reason, f"its mirror image: {each.message}")
            for index, each in mirrored.errors.items()
        }
        return Embedded(self.raw + mirrored.raw, errors | self.errors)


@contextlib.contextmanager
def in_process(settings: Settings) -> Iterator[Embedder]:
    """Load a model into this process."""
    store = Store(settings.store)
    running = Running(settings.detector_precision, threads.available_cpus())
    detector = detectors.load(settings.detector, settings.detector_model, store, running)
    model = loading.load(store.get(settings.model), settings, detector, None)

    def embed(face: Face) -> Vector:
        try:
            return model.embed(face)[0].raw
        except Refusal as refusal:
            raise UnusableImageError(refusal.reason.name, str(refusal)) from refusal
        except ArithmeticError as error:
            raise UnusableImageError(_NO_EMBEDDING, str(error)) from error

    info = model.info
    evaluated = Evaluated(
        name=info.name,
        backend=info.backend,
        precision=info.precision,
        detector=info.detector,
        embedding_space=info.space.id,
        embedding_size=info.space.size,
        weights_note=info.weights_note,
    )
    try:
        yield Embedder(evaluated, embed)
    finally:
        model.backend.close()


def embed_images(
    embedder: Embedder,
    images: Sequence[bytes],
    *,
    preparation: Preparation,
    mirror: bool = False,
) -> Embedded:
    """Embed image files, with a progress bar.

    Args:
        embedder: does it.
        images: the files' bytes.
        preparation: what each shows: an aligned face, or a photograph whose face has to be found.
        mirror: whether to embed their mirror images instead.

    Raises:
        EmbeddingError: if no image could be embedded.
    """
    work = functools.partial(_embed, embedder, preparation, mirror)
    with ThreadPoolExecutor(threads.evaluated()) as pool:
        done = pool.map(work, images)
        # None: where there is a terminal to draw on.
        outcomes = list(tqdm(done, total=len(images), unit="image", leave=False, disable=None))
    errors = {index: each for index, each in enumerate(outcomes) if isinstance(each, LeftOut)}
    if errors and len(errors) == len(images):
        raise EmbeddingError(f"no image could be embedded; the first one: {errors[0].message}")
    raw = np.zeros((len(images), embedder.info.embedding_size))
    for index, each in enumerate(outcomes):
        if not isinstance(each, LeftOut):
            raw[index] = each
    return Embedded(raw, errors)


def _embed(
    embedder: Embedder, preparation: Preparation, mirror: bool, image: bytes
) -> Vector | LeftOut:
    try:
        if not mirror:
            return embedder.embed(Face(EncodedImage(image), preparation))
        mirrored: Image = cv2.flip(ImageReader().decode(image), 1)  # type: ignore[assignment]  # it is uint8
        return embedder.embed(Face(RawImage(mirrored, "BGR"), preparation))
    except UnusableImageError as error:
        return LeftOut(error.reason, str(error))
    except Refusal as refusal:
        return LeftOut(refusal.reason.name, str(refusal))
