"""What goes into the client and what comes out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Point: TypeAlias = tuple[float, float]
# What is done about an image that is sideways; see `Photograph`.
Upright: TypeAlias = Literal["as_is", "auto"]
_PEM = b"-----BEGIN "


@dataclass(frozen=True)
class Tls:
    """How a client proves its server, and itself to the server.

    Args:
        ca: PEM of the CAs that sign the server's certificate; None takes the system's.
        certificate: PEM of the client's own certificate, with those between it and its CA, for a
            server that asks for one.
        key: PEM of its private key, unencrypted.
        server_name: the name in the server's certificate, where it is not the host of the address.

    Raises:
        ValueError: if one of them is no PEM, or certificate and key are not given together.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        for name in ("ca", "certificate", "key"):
            value = getattr(self, name)
            if value is not None and _PEM not in value:
                raise ValueError(f"the {name} is no PEM: it has no line with BEGIN")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key are given together")


@dataclass(frozen=True)
class RawFace:
    """An image as pixels: an aligned face or, inside a `Photograph`, one that shows a face.

    Args:
        pixels: uint8 `[height, width, 3]`, rows from the top, 0 to 255.
        channel_order: what the last axis holds; OpenCV reads BGR, Pillow RGB.
    """

    pixels: NDArray[np.uint8]
    channel_order: Literal["RGB", "BGR"]


@dataclass(frozen=True)
class Landmarks:
    """The five landmarks of a face, as (x, y) in pixels from the left and from the top.

    Left and right are those of the viewer, and the image is as viewers show it, upright. The order
    is the usual one of detectors, so that `Landmarks(*points)` takes their five points.

    Args:
        left_eye: the eye on the left of the image.
        right_eye: the eye on the right of the image.
        nose: the tip of the nose.
        left_mouth: the corner of the mouth on the left of the image.
        right_mouth: the corner of the mouth on the right of the image.
    """

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


@dataclass(frozen=True)
class Photograph:
    """An image with a face in it that the server has to align.

    Args:
        image: the bytes of an image file, or pixels.
        landmarks: where the face is; without them the server finds it.
        select: what to do with several faces: refuse the image (`only`), or take the one that is
            large and in the middle (`central`) or the one with the largest box (`largest`). It has
            no effect with landmarks. For all faces of an image there is the client's `embed_faces`.
        upright: what to do about an image that is sideways or upside down, and does not say so by
            its EXIF orientation: nothing (`as_is`), or turn it by quarters where no face is found
            of which the server is sure (`auto`), which `Detection.turned_degrees` tells. It has no
            effect with landmarks.
    """

    image: bytes | RawFace
    landmarks: Landmarks | None = None
    select: Literal["only", "central", "largest"] = "only"
    upright: Upright = "as_is"


@dataclass(frozen=True)
class AlignedFace:
    """An aligned face of which there is more to say than its image.

    Args:
        image: the bytes of an image file, or pixels.
        check_alignment: whether the server, which needs a detector for it, looks if the face is
            where an aligned one has it, and warns with `MISALIGNED` if not.
    """

    image: bytes | RawFace
    check_alignment: bool = False


# An aligned face, which is the bytes of an image file or pixels; or a photograph. Files are JPEG,
# PNG, WebP, AVIF or, where the server can read it, HEIC.
Face = bytes | RawFace | AlignedFace | Photograph


@dataclass(frozen=True)
class Box:
    """A rectangle in an image, in pixels. It may reach beyond the image."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection:
    """A face that the server found.

    Args:
        box: where it is.
        landmarks: its landmarks.
        score: how sure the detector is, from 0 to 1.
        turned_degrees: how far the image was turned clockwise to find it: 0, 90, 180 or 270. Box
            and landmarks are in the image as it was sent.
    """

    box: Box
    landmarks: Landmarks
    score: float
    turned_degrees: int = 0


@dataclass(frozen=True)
class Detections:
    """The faces of an image.

    Args:
        faces: those with larger boxes first; there may be none.
        width: the width of the image in pixels, as viewers show it.
        height: the height of the image in pixels, as viewers show it.
    """

    faces: tuple[Detection, ...]
    width: int
    height: int


@dataclass(frozen=True)
class FaceWarning:
    """Something that makes an embedding less trustworthy.

    Args:
        reason: the name of a `WarningReason` of the contract without its prefix, such as `BLURRED`.
        value: what was measured, in the unit that the contract gives for the reason.
        limit: the limit that the value is beyond.
    """

    reason: str
    value: float
    limit: float


@dataclass(frozen=True)
class Embedding:
    """The embedding of a face.

    Args:
        values: float32 `[size]`; of length 1 unless the raw values were asked for.
        norm: the L2 norm before normalisation.
        space: the embedding space. Only embeddings of one space can be compared.
        detection: the face, if the server found it in a photograph.
        warnings: what makes the embedding less trustworthy.
        model_version: the version of the model that made it, as `ModelInfo.model_version`.
        precision: the precision that it was made at, as `ModelInfo.precision`; empty from a server
            that does not say so. It has no part in whether two embeddings can be compared.
        faces_found: how many faces the server found in the photograph, of which this is one; 0 if
            it did not look for any, or does not say so.
    """

    values: NDArray[np.float32]
    norm: float
    space: str
    detection: Detection | None = None
    warnings: tuple[FaceWarning, ...] = ()
    model_version: str = ""
    precision: str = ""
    faces_found: int = 0


class EmbeddedFaces(list[Embedding]):
    """All faces of an image, those with larger boxes first, but for those that are missing.

    Args:
        embeddings: the faces.
        found: how many the server found.
        missing: how many of those were not embedded, as they are more than
            `ModelInfo.max_faces_per_request`; an earlier server does not say so.
    """

    def __init__(self, embeddings: Iterable[Embedding], found: int, missing: int) -> None:
        super().__init__(embeddings)
        self.found = found
        self.missing = missing


@dataclass(frozen=True)
class PreparedFace:
    """How one face of a comparison was prepared.

    Args:
        detection: the face, if the server found it in a photograph.
        warnings: what makes its embedding less trustworthy.
        faces_found: how many faces the server found in the photograph, as in `Embedding`.
    """

    detection: Detection | None
    warnings: tuple[FaceWarning, ...]
    faces_found: int = 0


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two faces.

    Args:
        cosine_similarity: from -1 to 1; NaN for a caller that may only decide.
        match: whether it reaches the threshold; None if undecided or without a criterion.
        threshold: the threshold that was decided by, if there was one.
        space: the embedding space of the comparison.
        decision: `MATCH`, `NO_MATCH`, `UNDECIDED`, or None without a criterion. Undecided is what
            is too close to the threshold of an operating point.
        expected_false_match_rate: the share of pairs of different people that match at this
            threshold; None without an operating point.
        first: how the first face was prepared; None if it was given as an embedding.
        second: how the second face was prepared; None if it was given as an embedding.
        model_version: the version of the model that compared them, as `ModelInfo.model_version`.
    """

    cosine_similarity: float
    match: bool | None
    threshold: float | None
    space: str
    decision: str | None
    expected_false_match_rate: float | None
    first: PreparedFace | None
    second: PreparedFace | None
    model_version: str = ""


@dataclass(frozen=True)
class OperatingPoint:
    """A calibrated threshold; the fields are those of the contract's `OperatingPoint`.

    `selection` is `ONLY`, `CENTRAL` or `LARGEST`, and `upright` is `AS_IS` or `AUTO`; or both are
    empty.
    """

    name: str
    threshold: float
    threshold_low: float
    threshold_high: float
    false_match_rate: float
    false_match_rate_high: float
    false_non_match_rate: float
    false_non_match_rate_high: float
    detector: str = ""
    selection: str = ""
    upright: str = ""


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
class ModelSummary:
    """One of the served models.

    The attributes are the fields of `ModelSummary` in the contract, where each is described; the
    enumeration is its name without the prefix, such as `SYNTHETIC`.
    """

    name: str
    is_default: bool
    model_version: str
    embedding_space: str
    embedding_size: int
    precision: str
    weights_origin: str


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
    max_image_pixels: int
    drift: Drift | None
    detector: str
    operating_points: tuple[OperatingPoint, ...]
    model_version: str = ""
    served_models: tuple[str, ...] = ()
    precision_reason: str = ""
