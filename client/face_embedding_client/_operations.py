"""What the clients do, apart from how they wait.

An operation is a generator: it yields calls, is sent their responses, and returns its result. A
call that fails is raised where it was yielded. Each client runs operations in its own way, so the
logic is here once.
"""

import collections
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _answers, _errors, _messages
from face_embedding_client._errors import (
    DeadlineExceededError,
    FaceEmbeddingError,
    IncompleteStreamError,
    ServerUnavailableError,
)
from face_embedding_client._messages import Options
from face_embedding_client._types import (
    Comparison,
    Detections,
    Embedding,
    Face,
    ModelInfo,
    RawFace,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A unary call: the method's name and the request."""

    method: str
    request: Any


Operation = Generator[Call, Any, T]
Outcome = Embedding | FaceEmbeddingError


class Operations:
    """The operations of one client, which remembers the server's limits.

    Args:
        model: the model's name, or empty.
        balanced: calls reach only servers that are SERVING.
    """

    def __init__(self, model: str, *, balanced: bool) -> None:
        self._model = model
        self._balanced = balanced
        self._info: ModelInfo | None = None

    def options(self, raw: bool) -> Options:
        """Return what each request carries."""
        return Options(self._model, raw)

    def embed(self, face: Face, raw: bool) -> Operation[Embedding]:
        """Embed one face."""
        outcomes = yield from self.embed_many([face], raw)
        if isinstance(outcomes[0], FaceEmbeddingError):
            raise outcomes[0]
        return outcomes[0]

    def embed_many(self, faces: Iterable[Face], raw: bool) -> Operation[list[Outcome]]:
        """Embed faces in as few calls as the limits allow."""
        info = yield from self.known_info()
        messages = list(enumerate(map(_messages.face_message, faces)))
        outcomes: dict[int, Outcome] = {}
        for index, message in messages:
            if error := _messages.too_large(message, info):
                outcomes[index] = error
        fitting = [item for item in messages if item[0] not in outcomes]
        for batch in _messages.batches(fitting, info):
            request = _messages.embed_request([face for _, face in batch], self.options(raw))
            try:
                response = yield Call("Embed", request)
            except FaceEmbeddingError as error:
                # The only face of a request fails the call instead of having a result.
                if not error.field.startswith("faces[0]"):
                    raise
                outcomes[batch[0][0]] = _errors.at_face(error, batch[0][0])
                continue
            for (index, _), result in zip(batch, response.results, strict=True):
                outcome = _answers.embedding_or_error(result, response.model_version)
                if isinstance(outcome, FaceEmbeddingError):
                    outcome = _errors.at_face(outcome, index)
                outcomes[index] = outcome
        return [outcomes[index] for index, _ in messages]

    def embed_faces(self, image: bytes | RawFace, raw: bool) -> Operation[list[Embedding]]:
        """Embed all faces of one image."""
        info = yield from self.known_info()
        message = _messages.all_faces_message(image)
        if error := _messages.too_large(message, info):
            raise error
        request = _messages.embed_request([message], self.options(raw))
        try:
            response = yield Call("Embed", request)
        except FaceEmbeddingError as error:
            raise _errors.of_only_face(error) from error
        return _answers.embeddings(response.results[0], response.model_version)

    def detect(self, image: bytes | RawFace) -> Operation[Detections]:
        """Find the faces of one image."""
        info = yield from self.known_info()
        request = _messages.detect_request(image)
        if error := _messages.too_large(request, info):
            raise error
        response = yield Call("Detect", request)
        return _answers.detections(response)

    def known_info(self) -> Operation[ModelInfo]:
        """Return the description of the model, asked for once."""
        return self._info or (yield from self.model_info())

    def compare(
        self,
        first: Face | Embedding,
        second: Face | Embedding,
        threshold: float | None,
        operating_point: str | None,
    ) -> Operation[Comparison]:
        """Compare two faces."""
        request = _messages.compare_request(first, second, threshold, operating_point, self._model)
        response = yield Call("Compare", request)
        return _answers.comparison(response)

    def model_info(self) -> Operation[ModelInfo]:
        """Describe the served model, and remember its limits."""
        response = yield Call("GetModelInfo", pb.GetModelInfoRequest(model=self._model))
        self._info = _answers.model_info(response)
        return self._info

    def is_serving(self) -> Operation[bool]:
        """Return whether health is SERVING, with a balanced client that of any server."""
        request = health_pb2.HealthCheckRequest()
        try:
            response = yield Call("Check", request)
        except ServerUnavailableError:
            if not self._balanced:
                raise
            # Either no server can be reached, or those that can do not serve: ask one of them.
            response = yield Call("CheckAny", request)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


class StreamRequests:
    """The requests of a stream, made of a caller's faces as they are taken.

    What cannot be sent is kept aside: the faces that the server would not take, and in `failure`
    what the caller's own iterable raised, which ends the requests.
    """

    def __init__(self, options: Options, info: ModelInfo, progress: "StreamProgress") -> None:
        self._refused: collections.deque[tuple[str, FaceEmbeddingError]] = collections.deque()
        self.failure: BaseException | None = None
        self._options = options
        self._info = info
        self._progress = progress

    def take_refused(self) -> Iterator[tuple[str, FaceEmbeddingError]]:
        """Yield the faces that were refused since the last time."""
        while self._refused:
            yield self._refused.popleft()

    def make(self, item_id: str, face: Face) -> pb.EmbedStreamRequest | None:
        """Return the request for a face, or None if it is refused."""
        message = _messages.face_message(face)
        if error := _messages.too_large(message, self._info):
            self._refused.append((item_id, error))
            return None
        request = _messages.stream_request(item_id, message, self._options)
        self._progress.sent()
        return request


class StreamProgress:
    """Tells a server that is late with its answer from a caller who takes their time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._unanswered = 0
        self._asked = False
        self._since = 0.0

    def sent(self) -> None:
        """Note that the server has one more item to answer."""
        if self._unanswered == 0:
            self._since = time.monotonic()
        self._unanswered += 1

    def asking(self) -> None:
        """Note that the caller waits for an answer from now on."""
        self._since = time.monotonic()
        self._asked = True

    def received(self) -> None:
        """Note an answer."""
        self._asked = False
        self._unanswered -= 1

    def check_complete(self, address: str) -> None:
        """Check that a stream that ended well has answered all that was sent.

        Where a stream is repeated, gRPC can lose a request on the way, and says nothing of it.

        Raises:
            IncompleteStreamError: if it has not.
        """
        if self._unanswered:
            raise IncompleteStreamError(
                f"{address}: the stream ended with {self._unanswered} faces unanswered; send those "
                f"again",
                "",
                "",
                grpc.StatusCode.UNAVAILABLE,
            )

    @property
    def remaining_s(self) -> float:
        """Seconds until the server is late; not positive if it is."""
        if self._unanswered == 0 or not self._asked:
            return self._timeout_s
        return self._since + self._timeout_s - time.monotonic()

    def error(self, address: str) -> DeadlineExceededError:
        """Return the error of a stream whose server is late."""
        return DeadlineExceededError(
            f"{address}: no answer in the stream for {self._timeout_s:g} s",
            "",
            "",
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
