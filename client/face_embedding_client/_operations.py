"""What the clients do, apart from how they wait.

An operation is a generator: it yields calls, is sent their responses, and returns its result. A
call that fails is raised where it was yielded. Each client runs operations in its own way, so the
logic is here once.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _messages
from face_embedding_client._errors import DeadlineExceededError, FaceEmbeddingError
from face_embedding_client._messages import Options
from face_embedding_client._types import Comparison, Embedding, Face, ModelInfo

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A unary call: the method's name and the request."""

    method: str
    request: Any


Operation = Generator[Call, Any, T]
Outcome = Embedding | FaceEmbeddingError


class Operations:
    """The operations of one client, which remembers the server's limits."""

    def __init__(self, model: str) -> None:
        self._model = model
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

    def embed_many(self, faces: Sequence[Face], raw: bool) -> Operation[list[Outcome]]:
        """Embed faces in as few calls as the limits allow."""
        info = self._info or (yield from self.model_info())
        outcomes: list[Outcome] = []
        for request in _messages.embed_requests(faces, self.options(raw), info):
            try:
                response = yield Call("Embed", request)
            except FaceEmbeddingError as error:
                # The only face of a request fails the call instead of having a result.
                if not error.field.startswith("faces[0]"):
                    raise
                outcomes.append(error)
            else:
                outcomes.extend(map(_messages.embedding_or_error, response.results))
        return outcomes

    def compare(
        self, first: Face | Embedding, second: Face | Embedding, threshold: float | None
    ) -> Operation[Comparison]:
        """Compare two faces."""
        request = _messages.compare_request(first, second, threshold, self._model)
        response = yield Call("Compare", request)
        return _messages.comparison(response)

    def model_info(self) -> Operation[ModelInfo]:
        """Describe the served model, and remember its limits."""
        response = yield Call("GetModelInfo", pb.GetModelInfoRequest(model=self._model))
        self._info = _messages.model_info(response)
        return self._info

    def is_serving(self) -> Operation[bool]:
        """Return whether health is SERVING."""
        response = yield Call("Check", health_pb2.HealthCheckRequest())
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass
class StreamProgress:
    """Tells a stream that waits for the server too long from one that waits for its caller."""

    timeout_s: float
    _waiting: int = 0
    _last: float = field(default_factory=time.monotonic)

    def sent(self) -> None:
        """Note that the server has one more item to answer."""
        if self._waiting == 0:
            self._last = time.monotonic()
        self._waiting += 1

    def received(self) -> None:
        """Note an answer."""
        self._waiting -= 1
        self._last = time.monotonic()

    @property
    def remaining_s(self) -> float:
        """Seconds until the server is late; not positive if it is."""
        if self._waiting == 0:
            return self.timeout_s
        return self._last + self.timeout_s - time.monotonic()

    def error(self, address: str) -> DeadlineExceededError:
        """Return the error of a stream whose server is late."""
        return DeadlineExceededError(
            f"{address}: no answer in the stream for {self.timeout_s:g} s",
            "",
            "",
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
