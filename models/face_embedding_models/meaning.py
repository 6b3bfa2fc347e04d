"""Whether a network's embeddings can mean anything: they tell faces apart, and see all of one.

It is asked of the drawn faces before a model is put to use, and before a server serves it. How good
a network is, they cannot tell.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.errors import MeaninglessError
from face_embedding_models.sample_faces import Image, altered_faces

Embedding = NDArray[np.float32]
Embeddings = NDArray[np.float32]

# Is kept with what passed, and is raised with what is checked below.
CHECKS = 1
# The cosine of two drawn faces. Measured: at most 0.869 with the published MobileFaceNet, 0.848 and
# 0.770 with the stand-ins of MobileFaceNet and ResNet34, and at least 0.9938 where pixels are
# normalised twice.
_MOST_ALIKE = 0.95
# The cosine of a drawn face to itself with a part that is another's. Measured: at most 0.967 with
# the published MobileFaceNet, 0.804 and 0.883 with the stand-ins, and 1 where it is not looked at.
_UNCHANGED = 0.999
# Beyond them, squares of values near them are no float32 any more. Measured: norms of 3.5 to 17.
_NORMS = (1e-12, 1e12)
# A value is at the limit from so much of the largest one on, and the most of all that may be.
# Measured: one in 768 with the published MobileFaceNet, which is the largest itself.
_AT_LIMIT, _MOST_AT_LIMIT = 0.999, 0.1
_REMEDY = "is the network trained, and fed as its manifest says (mean, scale)?"


def check(names: Sequence[str], embeddings: Embeddings) -> None:
    """Refuse embeddings of different faces that do not tell them apart.

    Args:
        names: what to call the faces.
        embeddings: raw, `[faces, size]`.

    Raises:
        MeaninglessError: if one is not finite, zero, or too small or large to be normalised, if two
            are alike, or if they are saturated.
    """
    for name, embedding in zip(names, embeddings, strict=True):
        _check_one(name, embedding)
    _check_alike(names, embeddings)
    sizes = np.abs(embeddings)
    if (share := float((sizes >= _AT_LIMIT * sizes.max()).mean())) > _MOST_AT_LIMIT:
        raise MeaninglessError(
            f"{share:.0%} of the values of the embeddings are as large as the largest, "
            f"{sizes.max():.4g}, so the output is saturated; {_REMEDY}"
        )


def check_sight(embed: Callable[[Image], Embedding], width: int, height: int) -> None:
    """Refuse a network that does not look at all of a face.

    Args:
        embed: gives the raw embedding, `[size]`, of an aligned face, uint8 HWC BGR.
        width: of the face, in pixels.
        height: of the same.

    Raises:
        MeaninglessError: if an embedding stays the same where a channel or a ninth of the face is
            that of another, or where the face is upside down; or is no embedding then.
    """
    face, changes = altered_faces(width, height)
    before = embed(face)
    for change in changes:
        after = embed(change.pixels_bgr)
        _check_one(f"a face where {change.name}", after)
        if (cosine := _cosines(np.stack([before, after]))[0, 1]) > _UNCHANGED:
            raise MeaninglessError(
                f"a face's embedding stays the same, with a cosine of {cosine:.4f}, where "
                f"{change.name}, so the network does not look at all of a face; are these all of "
                f"its weights, and is it fed as its manifest says (channel order, mean, scale)?"
            )


def _check_one(name: str, embedding: Embedding) -> None:
    if not np.isfinite(embedding).all():
        raise MeaninglessError(f"the embedding of {name} holds values that are not finite")
    if not embedding.any():
        raise MeaninglessError(f"the embedding of {name} is zero")
    norm = float(np.linalg.norm(embedding.astype(np.float64)))
    if not _NORMS[0] <= norm <= _NORMS[1]:
        raise MeaninglessError(
            f"the embedding of {name} has a norm of {norm:.3g}, beyond the {_NORMS[0]:g} to "
            f"{_NORMS[1]:g} that can be normalised; {_REMEDY}"
        )


def _check_alike(names: Sequence[str], embeddings: Embeddings) -> None:
    cosines = _cosines(embeddings)
    if (least := float(cosines.min())) > _MOST_ALIKE:
        raise MeaninglessError(
            f"the embeddings of faces that have nothing in common are the same, with cosines of "
            f"{least:.4f} and above; {_REMEDY}"
        )
    for one, other in itertools.combinations(range(len(names)), 2):
        if (cosine := float(cosines[one, other])) > _MOST_ALIKE:
            raise MeaninglessError(
                f"the embeddings of {names[one]} and {names[other]}, which have nothing in common, "
                f"are nearly the same, with a cosine of {cosine:.4f}, where {_MOST_ALIKE} is the "
                f"most; {_REMEDY}"
            )


def _cosines(embeddings: Embeddings) -> NDArray[np.float64]:
    directions = embeddings.astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosines: NDArray[np.float64] = directions @ directions.T
    return cosines
