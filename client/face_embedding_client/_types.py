"""What goes into the client and what comes out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RawFace:
    """An aligned face as pixels.

    Args:
        pixels: uint8 `[height, width, 3]`, rows from the top, 0 to 255.
        channel_order: what the last axis holds; OpenCV reads BGR, Pillow RGB.
    """

    pixels: NDArray[np.uint8]
    channel_order: Literal["RGB", "BGR"]


# An aligned face: the bytes of a JPEG or PNG file, or pixels.
Face = bytes | RawFace


@dataclass(frozen=True)
class Embedding:
    """The embedding of a face.

    Args:
        values: float32 `[size]`; of length 1 unless the raw values were asked for.
        norm: the L2 norm before normalisation.
        space: the embedding space. Only embeddings of one space can be compared.
    """

    values: NDArray[np.float32]
    norm: float
    space: str


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two faces.

    Args:
        cosine_similarity: from -1 to 1.
        match: whether it reaches the threshold; None if there was none.
        threshold: the threshold, if there was one.
        space: the embedding space of the comparison.
    """

    cosine_similarity: float
    match: bool | None
    threshold: float | None
    space: str


@dataclass(frozen=True)
class Drift:
    """How far the served precision is from f32; the fields are those of the contract's `Drift`."""

    faces: int
    min_cosine: float
    mean_cosine: float
    pairs: int
    max_score_change: float
    flipped_decisions: int
    threshold: float


@dataclass(frozen=True)
class ModelInfo:
    """The served model, how it is run, and the limits of requests.

    The attributes are the fields of `GetModelInfoResponse` in the contract, where each is
    described; enumerations are their names without the prefix, such as `SYNTHETIC`.
    """

    name: str
    backend: str
    backend_version: str
    device: str
    precision: str
    channel_order: str
    input_width: int
    input_height: int
    embedding_size: int
    embedding_space: str
    weights_sha256: str
    weights_origin: str
    weights_note: str
    license_note: str
    max_faces_per_request: int
    max_message_bytes: int
    max_encoded_bytes: int
    max_stream_in_flight: int
    drift: Drift | None
