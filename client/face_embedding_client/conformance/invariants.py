"""What holds for every server that keeps the contract, whatever its model."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _answers
from face_embedding_client._errors import FaceEmbeddingError, IncompleteStreamError
from face_embedding_client._types import Embedding
from face_embedding_client.conformance.checks import (
    ANSWERS,
    FAILED,
    PASSED,
    SKIPPED,
    Result,
    Session,
    cosine,
    vector,
    words,
)
from face_embedding_client.conformance.golden import OTHER_CASE, REFERENCE_CASE

# Whether it holds, or None if it cannot be told; what has to be; what is.
Finding: TypeAlias = tuple[bool | None, str, str]

# Of float32 arithmetic on a few hundred values.
_ROUNDING = 1e-4
_REFUSED = pb.Face(encoded=b"no image", aligned=pb.Aligned())
_STREAM = ("a", "b", "refused", "c")


def check_invariants(session: Session) -> Iterator[Result]:
    """Check what holds for every server."""
    for name, check in _CHECKS.items():
        proves = (check.__doc__ or "").strip()
        try:
            holds, expected, got = check(session)
        except ANSWERS as error:
            holds, expected, got = False, "an answer", words(error)
        status = SKIPPED if holds is None else PASSED if holds else FAILED
        yield Result("invariant", name, proves, status, expected, got)


def _health(session: Session) -> Finding:
    """A server that answers says that it is SERVING."""
    serving = session.client.is_serving()
    return serving, "SERVING", "SERVING" if serving else "NOT_SERVING"


def _description(session: Session) -> Finding:
    """The description of the model has a size, a space, and the version of the weights."""
    info = session.info
    holds = bool(
        info.name
        and info.embedding_space
        and info.embedding_size
        and info.input_width
        and info.model_version == info.weights_sha256[:16] != ""
    )
    got = f"{info.name} {info.embedding_size} {info.embedding_space} {info.model_version}"
    return holds, "name, size, space and version", got


def _models(session: Session) -> Finding:
    """All models are listed, the default one first, and the described one as it is described."""
    info, models = session.info, session.client.list_models()
    names = [each.name for each in models]
    defaults = [each.name for each in models if each.is_default]
    listed = [
        (each.name, each.model_version, each.embedding_space, each.embedding_size)
        for each in models
    ]
    described = (info.name, info.model_version, info.embedding_space, info.embedding_size)
    holds = names == [*info.served_models] and defaults == names[:1] and described in listed
    expected = f"{', '.join(info.served_models)}; default {', '.join(info.served_models[:1])}"
    return holds, expected, f"{', '.join(names)}; default {', '.join(defaults)}"


def _labels(session: Session) -> Finding:
    """An embedding has the size, the space and the version that the description names."""
    response = session.embed(_reference(session))
    embedding = response.results[0].embedding
    info = session.info
    expected = f"{info.embedding_size} {info.embedding_space} {info.model_version}"
    got = f"{len(embedding.values)} {embedding.space} {response.model_version}"
    return got == expected, expected, got


def _unit_length(session: Session) -> Finding:
    """An embedding has the L2 norm 1 unless the raw values are asked for."""
    length = float(np.linalg.norm(vector(_one(session))))
    return abs(length - 1) < _ROUNDING, f"1 within {_ROUNDING:g}", f"{length:.7f}"


def _raw_values(session: Session) -> Finding:
    """The raw values are the normalised ones times the norm, which both answers tell."""
    plain, raw = _one(session), _one(session, raw=True)
    length = float(np.linalg.norm(vector(raw)))
    alike = cosine(vector(plain), vector(raw))
    apart = max(abs(each.norm / length - 1) if length else np.inf for each in (plain, raw))
    # Two calls, which at another precision than f32 may be computed differently.
    rounding = max(_ROUNDING, 1 - session.tolerance)
    holds = apart < rounding and alike >= session.tolerance
    expected = f"cosine at least {session.tolerance:g}, norms equal within {rounding:g}"
    return holds, expected, f"cosine {alike:.7f}, norms {plain.norm:g} {raw.norm:g} {length:g}"


def _several_faces(session: Session) -> Finding:
    """Faces of one request are answered in order, and a refused one does not cost the others."""
    if session.info.max_faces_per_request < 2:
        return None, "two faces in a request", "the server takes one"
    refused, done = session.embed(_REFUSED, _reference(session)).results
    error = _answers.embedding_or_error(refused, "")
    expected = "INVALID_ARGUMENT IMAGE_UNREADABLE faces[0].encoded"
    got = words(error) if isinstance(error, FaceEmbeddingError) else "an embedding"
    alike = cosine(vector(done.embedding), vector(_one(session)))
    return got == expected and alike >= session.tolerance, expected, f"{got}, cosine {alike:.7f}"


def _stream(session: Session) -> Finding:
    """A stream answers every item once, under its id, and a refused one does not end it."""
    face = _reference(session).encoded
    items = ((name, b"no image" if name == "refused" else face) for name in _STREAM)
    answers: list[tuple[str, Embedding | FaceEmbeddingError]] = []
    with contextlib.suppress(IncompleteStreamError):  # Which are missing is seen below.
        answers.extend(session.client.embed_stream(items))
    alike = vector(_one(session))
    wrong = [
        name
        for name, outcome in answers
        if isinstance(outcome, Embedding) == (name == "refused")
        or (isinstance(outcome, Embedding) and cosine(outcome.values, alike) < session.tolerance)
    ]
    got = sorted(name for name, _ in answers)
    holds = got == sorted(_STREAM) and not wrong
    return holds, ", ".join(sorted(_STREAM)), f"{', '.join(got)}; wrong: {', '.join(wrong) or '-'}"


def _compare_with_itself(session: Session) -> Finding:
    """A face compared with itself has the cosine similarity 1."""
    face = pb.CompareSide(face=_reference(session))
    found = session.call("Compare", pb.CompareRequest(first=face, second=face)).cosine_similarity
    limit = session.tolerance
    return limit <= found <= 1, f"at least {limit:g}", f"{found:.7f}"


def _compare_embeddings(session: Session) -> Finding:
    """Two embeddings compare as the dot product of their normalised values."""
    sides = [_one(session), _other(session)]
    dot = float(vector(sides[0]).astype(np.float64) @ vector(sides[1]).astype(np.float64))
    first, second = (pb.CompareSide(embedding=side) for side in sides)
    request = pb.CompareRequest(first=first, second=second)
    found = session.call("Compare", request).cosine_similarity
    return abs(found - dot) < _ROUNDING, f"{dot:.7f} within {_ROUNDING:g}", f"{found:.7f}"


def _decisions(session: Session) -> Finding:
    """A threshold decides: -1 matches, 1 does not match another face, none decides nothing."""
    first, second = (pb.CompareSide(embedding=each) for each in (_one(session), _other(session)))
    decisions = [
        session.call(
            "Compare", pb.CompareRequest(first=first, second=second, threshold=threshold)
        ).decision
        for threshold in (-1, 1, None)
    ]
    expected = "MATCH, NO_MATCH, UNSPECIFIED"
    got = ", ".join(pb.Decision.Name(each).removeprefix("DECISION_") for each in decisions)
    return got == expected, expected, got


def _reference(session: Session) -> pb.Face:
    return session.golden.face(REFERENCE_CASE)


def _one(session: Session, *, raw: bool = False) -> pb.Embedding:
    return session.embed(_reference(session), raw=raw).results[0].embedding


def _other(session: Session) -> pb.Embedding:
    return session.embed(session.golden.face(OTHER_CASE)).results[0].embedding


_CHECKS: dict[str, Callable[[Session], Finding]] = {
    "health": _health,
    "description": _description,
    "models": _models,
    "labels": _labels,
    "unit length": _unit_length,
    "raw values": _raw_values,
    "several faces": _several_faces,
    "stream": _stream,
    "compare with itself": _compare_with_itself,
    "compare embeddings": _compare_embeddings,
    "decisions": _decisions,
}
