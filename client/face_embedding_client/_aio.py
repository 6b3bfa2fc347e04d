"""The client for asyncio."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _answers, _lines
from face_embedding_client._channel import (
    DEFAULT_OUTAGE_S,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
    Connection,
)
from face_embedding_client._errors import FaceEmbeddingError, ServerUnavailableError
from face_embedding_client._lines import DEFAULT_CONNECTIONS, Line, Lines
from face_embedding_client._operations import Call, Operation, Operations, Outcome, Wait
from face_embedding_client._repeating import Rule
from face_embedding_client._streaming import Items
from face_embedding_client._types import (
    Comparison,
    Detections,
    EmbeddedFaces,
    Embedding,
    Face,
    ModelInfo,
    ModelSummary,
    RawFace,
    Tls,
    Upright,
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
        connections: int = DEFAULT_CONNECTIONS,
        outage_s: float = DEFAULT_OUTAGE_S,
    ) -> None:
        self._rule = Rule(timeout_s, retries, outage_s)
        self._connection = Connection(
            address, tls, token, allow_plaintext_token, round_robin, repeating=retries > 0
        )
        self._lines = Lines(
            lambda: self._connection.aio_channel(balanced=True),
            self._connection.aio_channel(balanced=False),
            connections,
        )
        self._operations = Operations(model, self._rule, balanced=round_robin)

    async def embed(self, face: Face, *, raw: bool = False, outlast: bool = False) -> Embedding:
        """See `FaceEmbeddingClient.embed`."""
        return await self._run(self._operations.embed(face, raw, outlast))

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
        options = self._operations.options(raw)
        info = await self._run(self._operations.known_info())
        items = Items(options, info, self._rule, self._connection.address)
        changed = _Changed()
        taking = asyncio.ensure_future(_take(items, changed, faces))
        try:
            while True:
                await changed.until(lambda: items.worth_opening)
                done = items.done
                for refused in items.take_refused():
                    yield refused
                if done:
                    break
                if not items.idle:
                    with self._lines.taken(_lines.FULL) as line:
                        stream = self._one_stream(line, items, changed)
                        async with contextlib.aclosing(stream) as answers:
                            async for answer in answers:
                                yield answer
        finally:
            taking.cancel()
        if items.failure:
            raise items.failure

    async def _one_stream(
        self, line: Line[grpc.aio.Channel], items: Items, changed: "_Changed"
    ) -> AsyncGenerator[tuple[str, Outcome], None]:
        """Send items by one stream; yield their answers, and those to what was lost with it."""
        failure: FaceEmbeddingError | None = None
        call = line.stub.EmbedStream(_requests(items, changed), metadata=self._connection.metadata)
        try:
            while (response := await self._next(call, items)) is not None:
                item = items.received(response)
                changed.notify()
                item_id, outcome = _answers.stream_item(response)
                if item and isinstance(outcome, ServerUnavailableError):
                    outcome = await self._run(
                        self._operations.embed_item(item, outcome, items.answered)
                    )
                yield item_id, outcome
                for refused in items.take_refused():
                    yield refused
        except grpc.RpcError as error:
            failure = self._connection.error(error)
        finally:
            call.cancel()
        suspects, wait_s = items.end(failure)
        changed.notify()
        await asyncio.sleep(wait_s)
        for item, lost in suspects:
            yield item.id, await self._run(self._operations.embed_item(item, lost, items.answered))

    async def embed_faces(
        self,
        image: bytes | RawFace,
        *,
        raw: bool = False,
        upright: Upright = "as_is",
        outlast: bool = False,
    ) -> EmbeddedFaces:
        """See `FaceEmbeddingClient.embed_faces`."""
        return await self._run(self._operations.embed_faces(image, raw, upright, outlast))

    async def detect(
        self, image: bytes | RawFace, *, upright: Upright = "as_is", outlast: bool = False
    ) -> Detections:
        """See `FaceEmbeddingClient.detect`."""
        return await self._run(self._operations.detect(image, upright, outlast))

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

    async def list_models(self) -> list[ModelSummary]:
        """See `FaceEmbeddingClient.list_models`."""
        return await self._run(self._operations.list_models())

    async def is_serving(self) -> bool:
        """See `FaceEmbeddingClient.is_serving`."""
        return await self._run(self._operations.is_serving())

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._lines.channels:
            await channel.close()

    async def __aenter__(self) -> "AsyncFaceEmbeddingClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _next(self, call: _Stream, items: Items) -> pb.EmbedStreamResponse | None:
        """Return the next answer of a stream, or None at its end."""
        items.asking()
        reading = asyncio.ensure_future(call.read())
        while not reading.done():
            if items.remaining_s <= 0:
                raise items.late()
            await asyncio.wait([reading], timeout=items.remaining_s)
        response = reading.result()
        if not isinstance(response, pb.EmbedStreamResponse):
            return None
        return response

    async def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                try:
                    response = await self._perform(step)
                except FaceEmbeddingError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Call | Wait) -> Any:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        try:
            with self._lines.taken() as line:
                return await line.methods[step.method](
                    step.request, timeout=step.timeout_s, metadata=self._connection.metadata
                )
        except grpc.RpcError as error:
            raise self._connection.error(error) from error

    async def call(self, method: str, request: Any) -> Any:
        """Make one unary call of the contract."""
        return await self._run(self._operations.call(method, request))


class _Changed:
    """Lets tasks of one loop wait until what they share has changed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Let all that wait look again."""
        self._event.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not reached():
            self._event.clear()
            await self._event.wait()


async def _take(
    items: Items,
    changed: _Changed,
    faces: Iterable[tuple[str, Face]] | AsyncIterable[tuple[str, Face]],
) -> None:
    """Take a caller's faces as there is room for them; whatever becomes of a stream meanwhile."""
    try:
        async for item_id, face in _asynchronous(faces):
            items.take(item_id, items.make(item_id, face))
            changed.notify()
            await changed.until(lambda: items.has_room)
    except BaseException as error:
        # The items end here; what was taken is still answered.
        items.failure = error
    items.all_taken = True
    changed.notify()


async def _requests(items: Items, changed: _Changed) -> AsyncIterator[pb.EmbedStreamRequest]:
    """Yield what a stream sends, until there is nothing more or it is over."""
    stream = items.opened
    while True:
        await changed.until(lambda: items.may_send(stream))
        request = items.send(stream)
        if request is None:
            return
        yield request


async def _asynchronous(
    items: Iterable[tuple[str, Face]] | AsyncIterable[tuple[str, Face]],
) -> AsyncIterator[tuple[str, Face]]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
