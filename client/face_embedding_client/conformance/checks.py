"""Whether a server keeps the contract: what it is asked, and what it has to answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _messages
from face_embedding_client._errors import (
    FaceEmbeddingError,
    InvalidRequestError,
    ServerError,
    UnknownModelError,
)
from face_embedding_client._similarity import cosines
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client.conformance.golden import ErrorCase, FaceCase, Golden, Relation, Vector

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
# What the server answers of its own accord. After another error there is nothing more to ask.
ANSWERS = (InvalidRequestError, UnknownModelError, ServerError)


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Args:
        group: what kind of check it is.
        name: the case.
        proves: the fact that it shows.
        status: `passed`, `failed` or `skipped`.
        expected: what has to be answered.
        got: what was answered.
    """

    group: str
    name: str
    proves: str
    status: str
    expected: str
    got: str


class Session:
    """The calls of one run against one server.

    Args:
        client: talks to the server.
        golden: the cases.
        model: the model's name; the server's own if empty.

    Raises:
        FaceEmbeddingError: if the server does not describe its model.
    """

    def __init__(self, client: FaceEmbeddingClient, golden: Golden, model: str) -> None:
        self.client = client
        self.golden = golden
        self.model = model
        self.info = client.model_info()

    @property
    def same_space(self) -> bool:
        """Whether the server's embeddings are of the golden file's space."""
        return self.info.embedding_space == self.golden.embedding_space

    @property
    def tolerance(self) -> float:
        """The smallest cosine similarity of what has to be equal, at the server's precision."""
        return self.golden.tolerance(self.info.precision)

    def call(self, method: str, request: Any) -> Any:
        """Make one call, of this run's model unless the request names one."""
        named = type(request)()
        named.CopyFrom(request)
        if not getattr(named, "model", "unknown"):
            named.model = self.model
        return self.client.call(method, named)

    def embed(self, *faces: pb.Face, raw: bool = False) -> pb.EmbedResponse:
        """Embed faces in one call."""
        options = _messages.Options(self.model, raw)
        response: pb.EmbedResponse = self.client.call(
            "Embed", _messages.embed_request(list(faces), options)
        )
        return response

    def embeddings(self) -> Iterator[tuple[FaceCase, Vector | FaceEmbeddingError]]:
        """Embed the golden faces one by one."""
        for case in self.golden.faces:
            try:
                yield case, vector(self.embed(case.face).results[0].embedding)
            except ANSWERS as error:
                yield case, error


def vector(message: pb.Embedding) -> Vector:
    """Return the values of an embedding, float32 `[size]`."""
    return np.array(message.values, np.float32)


def cosine(first: Vector, second: Vector) -> float:
    """Return the cosine similarity of two embeddings; NaN where there is none."""
    if first.shape != second.shape:
        return float("nan")
    return float(cosines(first, second[np.newaxis])[0])


def check_faces(session: Session) -> Iterator[Result]:
    """Embed the golden faces; compare them with the golden embeddings and with one another."""
    done: dict[str, Vector] = {}
    for case, outcome in session.embeddings():
        if isinstance(outcome, FaceEmbeddingError):
            answer = words(outcome)
            yield Result("face", case.name, case.proves, FAILED, "an embedding", answer)
            continue
        done[case.name] = outcome
        yield _golden_result(session, case, outcome)
        for relation in case.relations:
            yield _relation_result(session, case, outcome, relation, done)


def _golden_result(session: Session, case: FaceCase, embedding: Vector) -> Result:
    limit = min(case.min_cosine, session.tolerance)
    expected = f"cosine to the golden embedding at least {limit:g}"
    if not session.same_space:
        return Result("face", case.name, case.proves, SKIPPED, expected, "another space")
    found = cosine(embedding, case.embedding)
    return Result("face", case.name, case.proves, _status(found >= limit), expected, f"{found:.7f}")


def _relation_result(
    session: Session,
    case: FaceCase,
    embedding: Vector,
    relation: Relation,
    done: Mapping[str, Vector],
) -> Result:
    limit = min(relation.cosine, session.tolerance) if relation.same else relation.cosine
    expected = f"cosine to '{relation.case}' at {'least' if relation.same else 'most'} {limit:g}"
    other = done.get(relation.case)
    if other is None:
        got = "there is none to compare with"
        return Result("relation", case.name, case.proves, SKIPPED, expected, got)
    found = cosine(embedding, other)
    passed = found >= limit if relation.same else found <= limit
    return Result("relation", case.name, case.proves, _status(passed), expected, f"{found:.7f}")


def check_errors(session: Session) -> Iterator[Result]:
    """Make the requests that are to be refused."""
    for case in session.golden.errors:
        expected, got = _words_of(*case.answer), _refusal(session, case)
        status = _status(got == expected)
        yield Result("error", case.name, case.proves, status, expected, got)


def _refusal(session: Session, case: ErrorCase) -> str:
    try:
        session.call(case.method, case.request)
    except ANSWERS as error:
        return words(error)
    return "an answer"


def words(error: FaceEmbeddingError) -> str:
    """Return the code, the reason and the field of a refusal."""
    return _words_of(error.code.name, error.reason, error.field)


def _words_of(*parts: str) -> str:
    return " ".join(part or "-" for part in parts)


def _status(passed: bool) -> str:
    return PASSED if passed else FAILED
