"""The client for asyncio."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import _answers
from face_embedding_client._channel import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
    Connection,
    unary_methods,
)
from face_embedding_client._errors import FaceEmbeddingError
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
    Tls,
)

T = TypeVar("T")
_Stream: TypeAlias = "grpc.aio.StreamStreamCall[pb.EmbedStreamRequest, pb.EmbedStreamResponse]"


class AsyncFaceEmbeddingClient:
    """`FaceEmbeddingClient` for asyncio: the same methods, to be awaited.

    Make it where a loop runs; close it, or use it in an `async with`.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        token: str = "",
        allow_plaintext_token: bool = False,
        round_robin: bool = False,
        retries: int = DEFAULT_RETRIES,
    ) -> None:
        self._connection = Connection(
            address, tls, token, allow_plaintext_token, round_robin, retries
        )
        self._timeout_s = timeout_s
        self._channel = self._connection.aio_channel(balanced=True)
        self._any_channel = self._connection.aio_channel(balanced=False)
        self._stub = pb_grpc.FaceEmbeddingServiceStub(self._channel)
        self._methods = unary_methods(self._stub, self._channel, self._any_channel)
        self._operations = Operations(model, balanced=round_robin)

    async def embed(self, face: Face, *, raw: bool = False) -> Embedding:
        """See `FaceEmbeddingClient.embed`."""
        return await self._run(self._operations.embed(face, raw))

    async def embed_many(
        self, faces: Iterable[Face], *, raw: bool = False
    ) -> list[Embedding | FaceEmbeddingError]:
        """See `FaceEmbeddingClient.embed_many`."""
        return await self._run(self._operations.embed_many(faces, raw))

    async def embed_stream(
        self,
        faces: Iterable[tuple[str, Face]] | AsyncIterable[tuple[str, Face]],
        *,
        raw: bool = False,
    ) -> AsyncIterator[tuple[str, Embedding | FaceEmbeddingError]]:
        """See `FaceEmbeddingClient.embed_stream`; the faces may come asynchronously."""
        progress = StreamProgress(self._timeout_s)
        info = await self._run(self._operations.known_info())
        made = StreamRequests(self._operations.options(raw), info, progress)

        call = self._stub.EmbedStream(_requests(made, faces), metadata=self._connection.metadata)
        try:
            while (response := await self._next(call, progress)) is not None:
                yield _answers.stream_item(response)
                for item in made.take_refused():
                    yield item
        except grpc.RpcError as error:
            raise self._connection.error(error) from error
        finally:
            call.cancel()
        for item in made.take_refused():
            yield item
        if made.failure:
            raise made.failure
        progress.check_complete(self._connection.address)

    async def embed_faces(self, image: bytes | RawFace, *, raw: bool = False) -> list[Embedding]:
        """See `FaceEmbeddingClient.embed_faces`."""
        return await self._run(self._operations.embed_faces(image, raw))

    async def detect(self, image: bytes | RawFace) -> Detections:
        """See `FaceEmbeddingClient.detect`."""
        return await self._run(self._operations.detect(image))

    async def compare(
        self,
        first: Face | Embedding,
        second: Face | Embedding,
        *,
        threshold: float | None = None,
        operating_point: str | None = None,
    ) -> Comparison:
        """See `FaceEmbeddingClient.compare`."""
        operation = self._operations.compare(first, second, threshold, operating_point)
        return await self._run(operation)

    async def model_info(self) -> ModelInfo:
        """See `FaceEmbeddingClient.model_info`."""
        return await self._run(self._operations.model_info())

    async def is_serving(self) -> bool:
        """See `FaceEmbeddingClient.is_serving`."""
        return await self._run(self._operations.is_serving())

    async def close(self) -> None:
        """Close the connections."""
        await self._channel.close()
        await self._any_channel.close()

    async def __aenter__(self) -> "AsyncFaceEmbeddingClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _next(self, call: _Stream, progress: StreamProgress) -> pb.EmbedStreamResponse | None:
        """Return the next answer of a stream, or None at its end."""
        progress.asking()
        reading = asyncio.ensure_future(call.read())
        while not reading.done():
            if progress.remaining_s <= 0:
                raise progress.error(self._connection.address)
            await asyncio.wait([reading], timeout=progress.remaining_s)
        response = reading.result()
        if not isinstance(response, pb.EmbedStreamResponse):
            return None
        progress.received()
        return response

    async def _run(self, operation: Operation[T]) -> T:
        try:
            call = next(operation)
            while True:
                try:
                    response = await self.call(call.method, call.request)
                except FaceEmbeddingError as error:
                    call = operation.throw(error)
                else:
                    call = operation.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def call(self, method: str, request: Any) -> Any:
        """Make one unary call of the contract."""
        try:
            return await self._methods[method](
                request, timeout=self._timeout_s, metadata=self._connection.metadata
            )
        except grpc.RpcError as error:
            raise self._connection.error(error) from error


async def _requests(
    made: StreamRequests, faces: Iterable[tuple[str, Face]] | AsyncIterable[tuple[str, Face]]
) -> AsyncIterator[pb.EmbedStreamRequest]:
    try:
        async for item_id, face in _asynchronous(faces):
            if request := made.make(item_id, face):
                yield request
    except (GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as error:
        # The requests end here; what was sent is still answered.
        made.failure = error


async def _asynchronous(
    items: Iterable[tuple[str, Face]] | AsyncIterable[tuple[str, Face]],
) -> AsyncIterator[tuple[str, Face]]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
