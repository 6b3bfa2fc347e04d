"""The gRPC service: one method a call of the contract."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_server import errors
from face_embedding_server.embeddings import Vector, cosine_similarity
from face_embedding_server.errors import Refusal
from face_embedding_server.serving import ModelHost, ServedModel
from face_embedding_server.settings import Settings

Request = TypeVar("Request")
Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)


def _answering(
    method: Callable[[Any, Request], Awaitable[Response]],
) -> Callable[[Any, Request, Context], Awaitable[Response]]:
    """Turn a refusal, or a fault of the server, into the status of the call."""

    @functools.wraps(method)
    async def call(self: Any, request: Request, context: Context) -> Response:
        try:
            return await method(self, request)
        except Exception as error:
            refusal = _refusal_of(error)
        status = errors.status_of(refusal)
        details = ((errors.STATUS_DETAILS_KEY, status.SerializeToString()),)
        await context.abort(errors.code_of(refusal), status.message, details)
        raise AssertionError  # abort raises.

    return call


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    _log.error("a request failed", exc_info=error)
    return errors.internal_error()


class FaceEmbeddingService(pb_grpc.FaceEmbeddingServiceServicer):
    """Answers requests with the model that the host knows."""

    def __init__(self, host: ModelHost, settings: Settings) -> None:
        self._host = host
        self._settings = settings

    @_answering
    async def Embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:  # noqa: N802  # gRPC's name
        """Embed the faces of one request."""
        model = self._host.get(request.model)
        self._check_count(len(request.faces))
        if len(request.faces) == 1:
            try:
                results = [await _embed(model, request.faces[0], request.normalization)]
            except Refusal as refusal:
                raise _in_face(refusal, 0) from refusal
        else:
            results = await asyncio.gather(
                *(
                    _embed_or_error(model, face, request.normalization, index)
                    for index, face in enumerate(request.faces)
                )
            )
        return pb.EmbedResponse(results=results)

    async def EmbedStream(  # noqa: N802  # gRPC's name
        self, requests: AsyncIterator[pb.EmbedStreamRequest], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Embed items as they come; answer each as it is done."""
        del context
        done: asyncio.Queue[pb.EmbedStreamResponse | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self._settings.max_stream_in_flight)
        running: set[asyncio.Task[None]] = set()

        async def answer(item: pb.EmbedStreamRequest) -> None:
            result = await self._embed_item(item)
            done.put_nowait(pb.EmbedStreamResponse(id=item.id, result=result))

        async def read() -> None:
            async for item in requests:
                await slots.acquire()
                task = asyncio.create_task(answer(item))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)
            done.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (response := await done.get()) is not None:
                yield response
                # Only an answer that was taken makes room for another item.
                slots.release()
        finally:
            for task in (reader, *running):
                task.cancel()

    @_answering
    async def Compare(self, request: pb.CompareRequest) -> pb.CompareResponse:  # noqa: N802  # gRPC's name
        """Compare two faces."""
        model = self._host.get(request.model)
        threshold = request.threshold if request.HasField("threshold") else None
        if threshold is not None and not -1 <= threshold <= 1:
            raise Refusal(
                pb.ERROR_REASON_THRESHOLD,
                f"{threshold} is not a cosine similarity, which is a number from -1 to 1",
                "threshold",
            )
        first, second = await asyncio.gather(
            _side(model, request.first, "first"), _side(model, request.second, "second")
        )
        similarity = cosine_similarity(first, second)
        return pb.CompareResponse(
            cosine_similarity=similarity,
            decision=_decide(similarity, threshold),
            threshold=threshold,
            space=model.space.id,
        )

    @_answering
    async def GetModelInfo(self, request: pb.GetModelInfoRequest) -> pb.GetModelInfoResponse:  # noqa: N802  # gRPC's name
        """Describe the served model."""
        return self._host.get(request.model).info

    def _check_count(self, count: int) -> None:
        limit = self._settings.max_faces_per_request
        if count == 0:
            raise Refusal(pb.ERROR_REASON_NO_FACES, "the request holds no face", "faces")
        if count > limit:
            raise Refusal(
                pb.ERROR_REASON_TOO_MANY_FACES,
                f"{count} faces in one request, at most {limit} are taken; send several requests "
                f"or use EmbedStream",
                "faces",
            )

    async def _embed_item(self, item: pb.EmbedStreamRequest) -> pb.EmbedResult:
        try:
            model = self._host.get(item.model)
            if not item.HasField("face"):
                raise Refusal(pb.ERROR_REASON_FIELD_MISSING, "the item has no face", "face")
            return await _embed(model, item.face, item.normalization)
        except Exception as error:
            return pb.EmbedResult(error=errors.status_of(_refusal_of(error)))


async def _embed(
    model: ServedModel, face: pb.Face, normalization: pb.Normalization
) -> pb.EmbedResult:
    return pb.EmbedResult(embedding=model.space.message(await model.embed(face), normalization))


async def _embed_or_error(
    model: ServedModel, face: pb.Face, normalization: pb.Normalization, index: int
) -> pb.EmbedResult:
    try:
        return await _embed(model, face, normalization)
    except Exception as error:
        return pb.EmbedResult(error=errors.status_of(_in_face(_refusal_of(error), index)))


def _in_face(refusal: Refusal, index: int) -> Refusal:
    return refusal.within(f"faces[{index}]")


async def _side(model: ServedModel, side: pb.CompareSide, field: str) -> Vector:
    """Return the embedding of one side of a comparison."""
    try:
        kind = side.WhichOneof("side")
        if kind == "face":
            return await model.embed(side.face)
        if kind == "embedding":
            return model.space.vector(side.embedding)
        raise Refusal(pb.ERROR_REASON_FIELD_MISSING, "give a face or an embedding")
    except Refusal as refusal:
        raise refusal.within(field) from refusal


def _decide(similarity: float, threshold: float | None) -> pb.Decision:
    if threshold is None:
        return pb.DECISION_UNSPECIFIED
    return pb.DECISION_MATCH if similarity >= threshold else pb.DECISION_NO_MATCH
