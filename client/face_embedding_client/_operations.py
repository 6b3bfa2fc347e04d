"""What the clients do, apart from how they wait.

An operation is a generator: it yields calls, is sent their responses, and returns its result. A
call that fails is raised where it was yielded. It also yields waits, before a call is made again.
Each client runs operations in its own way, so the logic is here once.
"""

import dataclasses
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from grpc_health.v1 import health_pb2

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _answers, _errors, _messages
from face_embedding_client._errors import (
    ConnectionLostError,
    FaceEmbeddingError,
    OverloadedError,
    ServerUnavailableError,
)
from face_embedding_client._messages import Options
from face_embedding_client._repeating import Attempts, Rule
from face_embedding_client._types import (
    Comparison,
    Detections,
    EmbeddedFaces,
    Embedding,
    Face,
    ModelInfo,
    ModelSummary,
    PreparedFace,
    RawFace,
    Upright,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A unary call: the method's name, the request, and the seconds until its deadline."""

    method: str
    request: Any
    timeout_s: float


@dataclass(frozen=True)
class Wait:
    """Seconds to let pass."""

    seconds: float


Operation = Generator[Call | Wait, Any, T]
Outcome = Embedding | FaceEmbeddingError


class Operations:
    """The operations of one client, which remembers the server's limits.

    Args:
        model: the model's name, or empty.
        rule: what is done about calls without an answer.
        balanced: calls reach only servers that are SERVING.
    """

    def __init__(self, model: str, rule: Rule, *, balanced: bool) -> None:
        self._model = model
        self._rule = rule
        self._balanced = balanced
        self._info: ModelInfo | None = None

    def options(self, raw: bool) -> Options:
        """Return what each request carries."""
        return Options(self._model, raw)

    def embed(self, face: Face, raw: bool, outlast: bool = False) -> Operation[Embedding]:
        """Embed one face."""
        info = yield from self.known_info(outlast)
        message = _messages.face_message(face)
        if error := _messages.too_large(message, info):
            raise error
        done: dict[int, Outcome] = {}
        yield from self._embed_batch([(0, message)], self.options(raw), outlast, done)
        if isinstance(done[0], FaceEmbeddingError):
            raise done[0]
        return done[0]

    def embed_many(self, faces: Iterable[Face], raw: bool) -> Operation[list[Outcome]]:
        """Embed faces in as few calls as the limits allow.

        Raises:
            FaceEmbeddingError: if a call fails before any face is embedded; later that error stands
                for all faces that have no answer.
        """
        info = yield from self.known_info()
        messages = list(enumerate(map(_messages.face_message, faces)))
        outcomes: dict[int, Outcome] = {}
        for index, message in messages:
            if error := _messages.too_large(message, info):
                outcomes[index] = error
        fitting = [item for item in messages if item[0] not in outcomes]
        try:
            for batch in _messages.batches(fitting, info):
                waiting = _any_embedded(outcomes)
                yield from self._embed_batch(batch, self.options(raw), waiting, outcomes)
        except FaceEmbeddingError as error:
            if not _any_embedded(outcomes):
                raise
            return [outcomes.get(index, error) for index, _ in messages]
        return [outcomes[index] for index, _ in messages]

    def _embed_batch(
        self,
        batch: list[tuple[int, pb.Face]],
        options: Options,
        outlast: bool,
        done: dict[int, Outcome],
    ) -> Operation[None]:
        """Embed the numbered faces of one request; if its connection is lost, one by one.

        What became of each is put into `done` at once.
        """
        if len(batch) == 1:
            ((index, face),) = batch
            name = f"faces[{index}]"
            attempts = Attempts(self._rule, name, name, outlast=outlast)
            done[index] = yield from self._embed_one(index, face, options, attempts)
            return
        attempts = Attempts(self._rule, "Embed", alone=False, outlast=outlast)
        outcomes: list[Outcome]
        try:
            request = _messages.embed_request([face for _, face in batch], options)
            response = yield from self._repeat("Embed", request, attempts)
        except ConnectionLostError as error:
            outcomes = [error] * len(batch)
        else:
            outcomes = [
                _answers.embedding_or_error(result, response.model_version)
                for result in response.results
            ]
        for (index, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Embedding):
                done[index] = outcome
            elif not isinstance(outcome, ServerUnavailableError):
                done[index] = _errors.at_face(outcome, index)
        for (index, face), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ServerUnavailableError):
                done[index] = yield from self._embed_one(
                    index, face, options, attempts.of_part(f"faces[{index}]"), outcome
                )

    def _embed_one(
        self,
        index: int,
        face: pb.Face,
        options: Options,
        attempts: Attempts,
        after: FaceEmbeddingError | None = None,
    ) -> Operation[Outcome]:
        """Embed a face by a request of its own, perhaps after it failed with others."""
        request = _messages.embed_request([face], options)
        try:
            response = yield from self._repeat("Embed", request, attempts, after)
        except FaceEmbeddingError as error:
            # The only face of a request fails the call instead of having a result.
            of_face = error.field.startswith("faces[")
            if not of_face and not (after and isinstance(error, OverloadedError)):
                raise
            return _errors.at_face(error, index)
        return _answers.embedding_or_error(response.results[0], response.model_version)

    def embed_item(
        self, item: pb.EmbedStreamRequest, after: FaceEmbeddingError, outlast: bool
    ) -> Operation[Outcome]:
        """Embed an item of a stream by a call of its own, after it failed there.

        Raises:
            ServerUnavailableError: if no server is there for it, nor would be for the next one.
        """
        request = pb.EmbedRequest(
            model=item.model, faces=[item.face], normalization=item.normalization
        )
        attempts = Attempts(self._rule, f"item {item.id!r}", "face", outlast=outlast)
        try:
            response = yield from self._repeat("Embed", request, attempts, after)
        except FaceEmbeddingError as error:
            of_server = isinstance(error, ServerUnavailableError)
            if of_server and not isinstance(error, OverloadedError):
                raise
            return _errors.of_item(error)
        return _answers.embedding_or_error(response.results[0], response.model_version)

    def call(self, method: str, request: Any, *, outlast: bool = False) -> Operation[Any]:
        """Make a call, as often as the rule says."""
        attempts = Attempts(self._rule, method, outlast=outlast)
        return (yield from self._repeat(method, request, attempts))

    def _repeat(
        self,
        method: str,
        request: Any,
        attempts: Attempts,
        after: FaceEmbeddingError | None = None,
    ) -> Operation[Any]:
        """Make a call, as often as the rule says; `after` is how it failed before."""
        while True:
            if after is not None and (wait_s := attempts.wait_s(after)):
                yield Wait(wait_s)
            try:
                response = yield Call(method, request, attempts.remaining_s)
            except ServerUnavailableError as error:
                after = error
            else:
                self._rule.budget.earn()
                return response

    def embed_faces(
        self, image: bytes | RawFace, raw: bool, upright: Upright, outlast: bool
    ) -> Operation[EmbeddedFaces]:
        """Embed all faces of one image."""
        info = yield from self.known_info(outlast)
        message = _messages.all_faces_message(image, upright)
        if error := _messages.too_large(message, info):
            raise error
        request = _messages.embed_request([message], self.options(raw))
        try:
            response = yield from self.call("Embed", request, outlast=outlast)
        except FaceEmbeddingError as error:
            raise _errors.of_only_face(error) from error
        return _answers.embeddings(response.results[0], response.model_version)

    def detect(
        self, image: bytes | RawFace, upright: Upright, outlast: bool
    ) -> Operation[Detections]:
        """Find the faces of one image."""
        info = yield from self.known_info(outlast)
        request = _messages.detect_request(image, upright)
        if error := _messages.too_large(request, info):
            raise error
        response = yield from self.call("Detect", request, outlast=outlast)
        return _answers.detections(response)

    def known_info(self, outlast: bool = False) -> Operation[ModelInfo]:
        """Return the description of the model, asked for once."""
        return self._info or (yield from self.model_info(outlast))

    def compare(
        self,
        first: Face | Embedding,
        second: Face | Embedding,
        threshold: float | None,
        operating_point: str | None,
    ) -> Operation[Comparison]:
        """Compare two faces."""
        request = _messages.compare_request(first, second, threshold, operating_point, self._model)
        if not _messages.surely_fits(request):
            info = yield from self.known_info()
            if not _messages.surely_fits(request, info):
                return (yield from self._compare_apart(first, second, threshold, operating_point))
        response = yield from self.call("Compare", request)
        return _answers.comparison(response)

    def _compare_apart(
        self,
        first: Face | Embedding,
        second: Face | Embedding,
        threshold: float | None,
        operating_point: str | None,
    ) -> Operation[Comparison]:
        """Compare faces that do not fit into one message: embed each by itself before."""
        sides: dict[str, Embedding] = {}
        prepared: dict[str, PreparedFace] = {}
        for name, side in (("first", first), ("second", second)):
            if isinstance(side, Embedding):
                sides[name] = side
                continue
            try:
                made = sides[name] = yield from self.embed(side, raw=False)
            except FaceEmbeddingError as error:
                raise _errors.of_side(error, name) from error
            prepared[name] = PreparedFace(made.detection, made.warnings)
        compared = yield from self.compare(
            sides["first"], sides["second"], threshold, operating_point
        )
        return dataclasses.replace(
            compared, first=prepared.get("first"), second=prepared.get("second")
        )

    def model_info(self, outlast: bool = False) -> Operation[ModelInfo]:
        """Describe the served model, and remember its limits."""
        request = pb.GetModelInfoRequest(model=self._model)
        response = yield from self.call("GetModelInfo", request, outlast=outlast)
        self._info = _answers.model_info(response)
        return self._info

    def list_models(self) -> Operation[list[ModelSummary]]:
        """List the served models."""
        return _answers.model_summaries(
            (yield from self.call("ListModels", pb.ListModelsRequest()))
        )

    def is_serving(self) -> Operation[bool]:
        """Return whether health is SERVING, with a balanced client that of any server."""
        request = health_pb2.HealthCheckRequest()
        try:
            response = yield Call("Check", request, self._rule.timeout_s)
        except ServerUnavailableError:
            if not self._balanced:
                raise
            # Either no server can be reached, or those that can do not serve: ask one of them.
            response = yield Call("CheckAny", request, self._rule.timeout_s)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def _any_embedded(outcomes: dict[int, Outcome]) -> bool:
    return any(isinstance(outcome, Embedding) for outcome in outcomes.values())
