"""The client for threads."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import _errors, _messages
from face_embedding_client._errors import FaceEmbeddingError
from face_embedding_client._messages import DEFAULT_TIMEOUT_S
from face_embedding_client._operations import (
    Operation,
    Operations,
    StreamProgress,
    StreamRequests,
)
from face_embedding_client._types import (
    Comparison,
    Detections,
    Embedding,
    Face,
    ModelInfo,
    RawFace,
)

T = TypeVar("T")


class FaceEmbeddingClient:
    """Talks to one server. Safe to share between threads; close it, or use it in a `with`.

    Args:
        address: `HOST:PORT`.
        model: the model's name; the server's own if empty.
        timeout_s: the deadline of each call in seconds; in a stream, of each answer.

    Every method raises a `FaceEmbeddingError` if the call fails.
    """

    def __init__(
        self, address: str, *, model: str = "", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, _messages.CHANNEL_OPTIONS)
        self._stub = pb_grpc.FaceEmbeddingServiceStub(self._channel)
        health = health_pb2_grpc.HealthStub(self._channel)
        self._methods = {
            "Embed": self._stub.Embed,
            "Compare": self._stub.Compare,
            "Detect": self._stub.Detect,
            "GetModelInfo": self._stub.GetModelInfo,
            "Check": health.Check,  # type: ignore[attr-defined]  # The typed stub lacks it.
        }
        self._operations = Operations(model)

    def embed(self, face: Face, *, raw: bool = False) -> Embedding:
        """Embed one face.

        Args:
            face: an aligned face, which is the bytes of a JPEG, PNG or WebP file or pixels; or a
                `Photograph`, which the server aligns.
            raw: keep the values as the network gave them instead of dividing by their norm.
        """
        return self._run(self._operations.embed(face, raw))

    def embed_many(
        self, faces: Iterable[Face], *, raw: bool = False
    ) -> list[Embedding | FaceEmbeddingError]:
        """Embed faces in as few calls as the server's limits allow.

        Returns:
            For each face, in order, its embedding, or the error that there is instead.
        """
        return self._run(self._operations.embed_many(faces, raw))

    def embed_stream(
        self, faces: Iterable[tuple[str, Face]], *, raw: bool = False
    ) -> Iterator[tuple[str, Embedding | FaceEmbeddingError]]:
        """Embed any number of faces, each with an id of the caller's choice.

        Faces are taken as the server has room for them, by another thread. Yields each id with
        its embedding, or the error that there is instead, in the order in which they are done. If
        `faces` raises, that comes out after the answers to what was taken before.
        """
        progress = StreamProgress(self._timeout_s)
        info = self._run(self._operations.known_info())
        made = StreamRequests(self._operations.options(raw), info, progress)

        call = self._stub.EmbedStream(_requests(made, faces))
        try:
            with _watching(call, progress) as late:
                progress.asking()
                for response in call:
                    progress.received()
                    yield response.id, _messages.embedding_or_error(response.result)
                    yield from made.take_refused()
                    progress.asking()
        except grpc.RpcError as error:
            if late.is_set():
                raise progress.error(self._address) from error
            raise _errors.from_rpc_error(error, self._address) from error
        finally:
            call.cancel()
        yield from made.take_refused()
        if made.failure:
            raise made.failure

    def embed_faces(self, image: bytes | RawFace, *, raw: bool = False) -> list[Embedding]:
        """Embed all faces of one image, those with larger boxes first.

        They are at most `ModelInfo.max_faces_per_request`; an image without any is refused.

        Args:
            image: the bytes of a JPEG, PNG or WebP file, or pixels.
            raw: keep the values as the network gave them instead of dividing by their norm.
        """
        return self._run(self._operations.embed_faces(image, raw))

    def detect(self, image: bytes | RawFace) -> Detections:
        """Find the faces of one image, without embedding them. None is no error.

        Args:
            image: the bytes of a JPEG, PNG or WebP file, or pixels.
        """
        return self._run(self._operations.detect(image))

    def compare(
        self,
        first: Face | Embedding,
        second: Face | Embedding,
        *,
        threshold: float | None = None,
        operating_point: str | None = None,
    ) -> Comparison:
        """Compare two faces, each an image or an embedding from an earlier call.

        Args:
            first: one side.
            second: the other side.
            threshold: the cosine similarity from which they match.
            operating_point: instead of a threshold, the name of one that the server's calibration
                has, as `ModelInfo.operating_points` lists them. With neither there is no decision.

        Raises:
            ValueError: if both a threshold and an operating point are given.
        """
        operation = self._operations.compare(first, second, threshold, operating_point)
        return self._run(operation)

    def model_info(self) -> ModelInfo:
        """Describe the served model."""
        return self._run(self._operations.model_info())

    def is_serving(self) -> bool:
        """Return whether the server's health is SERVING."""
        return self._run(self._operations.is_serving())

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> "FaceEmbeddingClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, operation: Operation[T]) -> T:
        try:
            call = next(operation)
            while True:
                try:
                    response = self._methods[call.method](call.request, timeout=self._timeout_s)
                except grpc.RpcError as error:
                    call = operation.throw(_errors.from_rpc_error(error, self._address))
                else:
                    call = operation.send(response)
        except StopIteration as end:
            result: T = end.value
            return result


def _requests(
    made: StreamRequests, faces: Iterable[tuple[str, Face]]
) -> Iterator[pb.EmbedStreamRequest]:
    try:
        for item_id, face in faces:
            if request := made.make(item_id, face):
                yield request
    except GeneratorExit:
        raise
    except BaseException as error:
        # The requests end here; what was sent is still answered.
        made.failure = error


@contextlib.contextmanager
def _watching(call: "grpc.Call", progress: StreamProgress) -> Iterator[threading.Event]:
    """Cancel a stream when its server is late, and set the event that is yielded."""
    over, late = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(max(progress.remaining_s, 0)):
            if progress.remaining_s <= 0:
                late.set()
                call.cancel()
                return

    threading.Thread(target=watch, name="face-embedding-stream", daemon=True).start()
    try:
        yield late
    finally:
        over.set()
