"""The service of the contract: one method a call."""

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server import context
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.face import Face
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.embeddings import Vector, cosine_similarity
from face_embedding_server.inference.model import ServedModel
from face_embedding_server.inference.registry import Registry
from face_embedding_server.inference.workers import Workers
from face_embedding_server.rpc import convert, methods, streaming
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.methods import AnyMethod, Method, StreamMethod
from face_embedding_server.rpc.status import report, status_of
from face_embedding_server.rpc.streaming import Stream
from face_embedding_server.settings import Settings

NAME = pb.DESCRIPTOR.services_by_name["FaceEmbeddingService"].full_name


class FaceEmbeddingService:
    """Answers requests with the models of a registry.

    Args:
        registry: knows the models.
        admission: asks streams to end.
        settings: the limits.
        workers: threads that take the faces of one call at the same time.
    """

    def __init__(
        self, registry: Registry, admission: Admission, settings: Settings, workers: Workers
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._settings = settings
        self._workers = workers

    def _embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Embed the faces of one request."""
        model = self._registry.get(request.model)
        self._check_count(len(request.faces))
        raw = convert.is_raw(request.normalization)
        if len(request.faces) == 1:
            try:
                face = convert.face_of(request.faces[0])
                result = self._workers.run(face.is_photograph, _embed, model, face, raw)
            except Refusal as refusal:
                raise _in_face(refusal, 0) from refusal
            return pb.EmbedResponse(results=[result], model_version=model.version)
        begun = [
            self._begin(model, message, raw, index) for index, message in enumerate(request.faces)
        ]
        return pb.EmbedResponse(
            results=[context.result_of(each) for each in begun], model_version=model.version
        )

    def _begin(
        self, model: ServedModel, message: pb.Face, raw: bool, index: int
    ) -> "Future[pb.EmbedResult]":
        """Begin to embed one of several faces."""

        def failed(error: Exception) -> pb.EmbedResult:
            return pb.EmbedResult(error=status_of(_in_face(report(error), index)))

        def embed() -> pb.EmbedResult:
            try:
                return _embed(model, face, raw)
            except Exception as error:
                return failed(error)

        try:
            face = convert.face_of(message)
        except Exception as error:
            refused: Future[pb.EmbedResult] = Future()
            refused.set_result(failed(error))
            return refused
        return self._workers.submit(face.is_photograph, embed)

    def _embed_stream(
        self, requests: Iterator[bytes], call: grpc.ServicerContext
    ) -> Iterator[pb.EmbedStreamResponse]:
        """Embed items as they come; answer each as it is done."""
        limits = self._settings
        stream: Stream[pb.EmbedStreamResponse] = Stream(
            limits.max_stream_in_flight, limits.max_message_bytes
        )

        def begin(data: bytes) -> None:
            size = len(data)
            item_id = version = ""
            try:
                item: pb.EmbedStreamRequest = methods.parse(pb.EmbedStreamRequest, data)
                item_id = item.id
                model = self._registry.get(item.model)
                version = model.version
                if not item.HasField("face"):
                    raise Refusal(Reason.FIELD_MISSING, "the item has no face", "face")
                raw = convert.is_raw(item.normalization)
                face = convert.face_of(item.face)
            except Exception as error:
                stream.done(_stream_error(item_id, error, version), size)
                return

            def answer() -> None:
                stream.done(_embed_item(model, face, raw, item_id), size)

            self._workers.submit(face.is_photograph, answer)

        return streaming.answers(requests, call, self._admission, stream, begin)

    def _compare(self, request: pb.CompareRequest) -> pb.CompareResponse:
        """Compare two faces."""
        model = self._registry.get(request.model)
        decide = _criterion(model, request)
        first, second = self._sides(model, first=request.first, second=request.second)
        with context.stage(context.RESPOND):
            similarity = cosine_similarity(first.vector, second.vector)
            response = decide(similarity)
            response.cosine_similarity = similarity if context.may("compare") else math.nan
            response.space = model.space.id
            response.model_version = model.version
            for side, prepared in (
                (response.first, first.prepared),
                (response.second, second.prepared),
            ):
                if prepared:
                    side.CopyFrom(prepared)
            return response

    def _sides(self, model: ServedModel, **sides: pb.CompareSide) -> list["_Side"]:
        """Return both sides of a comparison; two photographs are prepared at the same time."""
        given = [_side_of(model, side, field) for field, side in sides.items()]
        if all(side.is_photograph for side in given):
            waiting = [self._workers.submit(True, side.embed) for side in given]
            return [context.result_of(each) for each in waiting]
        return [self._workers.run(side.is_photograph, side.embed) for side in given]

    def _detect(self, request: pb.DetectRequest) -> pb.DetectResponse:
        """Find faces."""
        reader = self._registry.get("").reader
        reader.require_detector()
        upright = convert.is_upright(request.upright, "upright")
        picture = convert.picture_of(request)
        photograph, found = self._workers.run(
            True, functools.partial(reader.detect, upright=upright), picture
        )
        with context.stage(context.RESPOND):
            height, width = photograph.shape[:2]
            return pb.DetectResponse(
                detections=convert.detections(found), width=width, height=height
            )

    def _get_model_info(self, request: pb.GetModelInfoRequest) -> pb.GetModelInfoResponse:
        """Describe a served model."""
        model = self._registry.get(request.model)
        return convert.info(model.info, self._settings, self._registry.names())

    def _list_models(self, _: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """List the served models."""
        default = self._registry.get("").info.name
        models = [self._registry.get(name).info for name in self._registry.names()]
        return pb.ListModelsResponse(models=[convert.summary(each, default) for each in models])

    def _check_count(self, count: int) -> None:
        limit = self._settings.max_faces_per_request
        if count == 0:
            raise Refusal(Reason.NO_FACES, "the request holds no face", "faces")
        if count > limit:
            raise Refusal(
                Reason.TOO_MANY_FACES,
                f"{count} faces in one request, at most {limit} are taken; send several requests "
                f"or use EmbedStream",
                "faces",
            )


METHODS: tuple[AnyMethod, ...] = (
    Method("Embed", pb.EmbedRequest, FaceEmbeddingService._embed, methods.EMBED),
    StreamMethod("EmbedStream", FaceEmbeddingService._embed_stream, methods.EMBED),
    Method("Detect", pb.DetectRequest, FaceEmbeddingService._detect, methods.EMBED),
    Method("Compare", pb.CompareRequest, FaceEmbeddingService._compare, methods.COMPARE),
    Method(
        "GetModelInfo",
        pb.GetModelInfoRequest,
        FaceEmbeddingService._get_model_info,
        methods.DESCRIBE,
    ),
    Method("ListModels", pb.ListModelsRequest, FaceEmbeddingService._list_models, methods.DESCRIBE),
)


def _embed(model: ServedModel, face: Face, raw: bool) -> pb.EmbedResult:
    found = model.embed(face)
    with context.stage(context.RESPOND):
        return convert.result_of(found, model.info, raw=raw, several=face.asks_for_all)


def _embed_item(model: ServedModel, face: Face, raw: bool, item_id: str) -> pb.EmbedStreamResponse:
    try:
        result = _embed(model, face, raw)
    except Exception as error:
        return _stream_error(item_id, error, model.version)
    return pb.EmbedStreamResponse(id=item_id, result=result, model_version=model.version)


def _in_face(refusal: Refusal, index: int) -> Refusal:
    return refusal.within(f"faces[{index}]")


def _stream_error(item_id: str, error: Exception, version: str) -> pb.EmbedStreamResponse:
    result = pb.EmbedResult(error=status_of(report(error)))
    return pb.EmbedStreamResponse(id=item_id, result=result, model_version=version)


@dataclass(frozen=True)
class _Side:
    """One side of a comparison: its embedding and, if it is a face, how that was prepared."""

    vector: Vector
    prepared: pb.PreparedFace | None = None


@dataclass(frozen=True)
class _GivenSide:
    """One side as it was given: whether it takes long, and what makes its embedding."""

    is_photograph: bool
    embed: Callable[[], _Side]


def _side_of(model: ServedModel, side: pb.CompareSide, field: str) -> _GivenSide:
    """Return one side of a comparison."""
    kind = side.WhichOneof("side")
    where = f"{field}.{kind}" if kind else field
    try:
        if kind == "embedding":
            stored = _Side(model.space.vector(side.embedding.space, side.embedding.values))
            return _GivenSide(False, lambda: stored)
        if kind is None:
            raise Refusal(Reason.FIELD_MISSING, "give a face or an embedding")
        face = convert.face_of(side.face)
        if face.asks_for_all:
            raise Refusal(
                Reason.FACE_SELECTION,
                "a comparison is of two faces: ask for the only, the most central or the largest",
                "detect.selection",
            )
    except Refusal as refusal:
        raise refusal.within(where) from refusal

    def embed() -> _Side:
        try:
            (embedded,) = model.embed(face)
        except Refusal as refusal:
            raise refusal.within(where) from refusal
        prepared = pb.PreparedFace(**convert.fields_of(embedded), faces_found=embedded.faces_found)
        return _Side(embedded.raw, prepared)

    return _GivenSide(face.is_photograph, embed)


def _criterion(
    model: ServedModel, request: pb.CompareRequest
) -> Callable[[float], pb.CompareResponse]:
    """Return what decides on a similarity, as the beginning of the answer."""
    kind = request.WhichOneof("criterion")
    if kind != "operating_point" and not context.may("compare"):
        # By thresholds of one's own a similarity is found to any digit.
        raise Refusal(
            Reason.PERMISSION,
            "a caller with the permission decide, without compare, has to name an operating point",
            "operating_point",
        )
    if kind == "operating_point":
        point = model.operating_point(request.operating_point)
        return lambda similarity: pb.CompareResponse(
            decision=convert.decision(point.decide(similarity)),
            threshold=point.threshold,
            expected_false_match_rate=point.false_match_rate,
        )
    if kind is None:
        return lambda _: pb.CompareResponse()
    threshold = request.threshold
    if not -1 <= threshold <= 1:
        raise Refusal(
            Reason.THRESHOLD,
            f"{threshold} is not a cosine similarity, which is a number from -1 to 1",
            "threshold",
        )
    return lambda similarity: pb.CompareResponse(
        decision=convert.decision(operating_points.decide(similarity, threshold)),
        threshold=threshold,
    )
