"""The service of the contract: one method a call."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server import answering, embeddings, errors, faces, streaming
from face_embedding_server.answering import parse, refusal_of
from face_embedding_server.calls import Calls
from face_embedding_server.detectors import Detection
from face_embedding_server.embeddings import Vector, cosine_similarity
from face_embedding_server.errors import Refusal
from face_embedding_server.faces import is_photograph
from face_embedding_server.hosting import ModelHost
from face_embedding_server.serving import EmbeddedFace, ServedModel
from face_embedding_server.settings import Settings
from face_embedding_server.streaming import Stream
from face_embedding_server.telemetry import current
from face_embedding_server.workers import Workers

NAME = pb.DESCRIPTOR.services_by_name["FaceEmbeddingService"].full_name


class FaceEmbeddingService:
    """Answers requests with the models that the host knows.

    Args:
        host: knows the models.
        calls: counts the calls.
        settings: the limits.
        workers: threads that take the faces of one call at the same time.
    """

    def __init__(self, host: ModelHost, calls: Calls, settings: Settings, workers: Workers) -> None:
        self._host = host
        self._calls = calls
        self._settings = settings
        self._workers = workers

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service in the form that a server takes."""
        unary = functools.partial(answering.unary, self._calls.admitted)
        methods = {
            "Embed": unary(pb.EmbedRequest, self._embed),
            "Compare": unary(pb.CompareRequest, self._compare),
            "Detect": unary(pb.DetectRequest, self._detect),
            "GetModelInfo": unary(pb.GetModelInfoRequest, self._get_model_info),
            "EmbedStream": grpc.stream_stream_rpc_method_handler(
                self._embed_stream, response_serializer=answering.serialize
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    def _embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Embed the faces of one request."""
        model = self._host.get(request.model)
        self._check_count(len(request.faces))
        embeddings.check_normalization(request.normalization)
        if len(request.faces) == 1:
            face = request.faces[0]
            try:
                result = self._workers.run(
                    is_photograph(face), _embed, model, face, request.normalization
                )
            except Refusal as refusal:
                raise _in_face(refusal, 0) from refusal
            return pb.EmbedResponse(results=[result], model_version=model.version)
        answers = [
            self._workers.submit(
                is_photograph(face), _embed_or_error, model, face, request.normalization, index
            )
            for index, face in enumerate(request.faces)
        ]
        return pb.EmbedResponse(
            results=[answer.result() for answer in answers], model_version=model.version
        )

    def _embed_stream(
        self, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[pb.EmbedStreamResponse]:
        """Embed items as they come; answer each as it is done."""
        limits = self._settings
        stream: Stream[pb.EmbedStreamResponse] = Stream(
            limits.max_stream_in_flight, limits.max_message_bytes
        )

        def begin(data: bytes) -> None:
            size = len(data)
            try:
                item = parse(pb.EmbedStreamRequest, data)
            except Refusal as refusal:
                stream.done(_stream_error("", refusal), size)
            else:
                self._workers.submit(is_photograph(item.face), answer, item, size)

        def answer(item: pb.EmbedStreamRequest, size: int) -> None:
            stream.done(self._embed_item(item), size)

        return streaming.answers(requests, context, self._calls, stream, begin)

    def _embed_item(self, item: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
        version = ""
        try:
            model = self._host.get(item.model)
            version = model.version
            if not item.HasField("face"):
                raise Refusal(pb.ERROR_REASON_FIELD_MISSING, "the item has no face", "face")
            embeddings.check_normalization(item.normalization)
            result = _embed(model, item.face, item.normalization)
        except Exception as error:
            return _stream_error(item.id, error, version)
        return pb.EmbedStreamResponse(id=item.id, result=result, model_version=version)

    def _compare(self, request: pb.CompareRequest) -> pb.CompareResponse:
        """Compare two faces."""
        model = self._host.get(request.model)
        decide = _criterion(model, request)
        first, second = self._sides(model, first=request.first, second=request.second)
        with current.stage(current.RESPOND):
            similarity = cosine_similarity(first.vector, second.vector)
            response = decide(similarity)
            response.cosine_similarity = similarity
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
        if all(is_photograph(side.face) for side in sides.values()):
            waiting = [
                self._workers.submit(True, _side, model, side, field)
                for field, side in sides.items()
            ]
            return [each.result() for each in waiting]
        return [
            self._workers.run(is_photograph(side.face), _side, model, side, field)
            for field, side in sides.items()
        ]

    def _detect(self, request: pb.DetectRequest) -> pb.DetectResponse:
        """Find faces."""
        reader = self._host.get("").reader
        photograph, found = self._workers.run(True, reader.detect, request)
        with current.stage(current.RESPOND):
            height, width = photograph.shape[:2]
            return pb.DetectResponse(detections=map(_detection, found), width=width, height=height)

    def _get_model_info(self, request: pb.GetModelInfoRequest) -> pb.GetModelInfoResponse:
        """Describe a served model."""
        response = pb.GetModelInfoResponse(served_models=self._host.names())
        response.MergeFrom(self._host.get(request.model).info)
        return response

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


def _embed(model: ServedModel, face: pb.Face, normalization: pb.Normalization) -> pb.EmbedResult:
    found = model.embed(face)
    with current.stage(current.RESPOND):
        embedded = [
            {
                "embedding": model.space.message(each.raw, each.norm, normalization),
                **_preparation(each),
            }
            for each in found
        ]
        if face.detect.selection == pb.FACE_SELECTION_ALL:
            all_faces = [pb.EmbeddedFace(**each) for each in embedded]
            return pb.EmbedResult(faces=pb.EmbeddedFaces(faces=all_faces))
        return pb.EmbedResult(**embedded[0])


def _embed_or_error(
    model: ServedModel, face: pb.Face, normalization: pb.Normalization, index: int
) -> pb.EmbedResult:
    try:
        return _embed(model, face, normalization)
    except Exception as error:
        return pb.EmbedResult(error=errors.status_of(_in_face(refusal_of(error), index)))


def _in_face(refusal: Refusal, index: int) -> Refusal:
    return refusal.within(f"faces[{index}]")


def _stream_error(item_id: str, error: Exception, version: str = "") -> pb.EmbedStreamResponse:
    result = pb.EmbedResult(error=errors.status_of(refusal_of(error)))
    return pb.EmbedStreamResponse(id=item_id, result=result, model_version=version)


def _preparation(face: EmbeddedFace) -> dict[str, Any]:
    """Return the fields that say how a face was prepared."""
    fields: dict[str, Any] = {"warnings": face.warnings} if face.warnings else {}
    return fields | ({"detection": _detection(face.detection)} if face.detection else {})


def _detection(found: Detection) -> pb.Detection:
    points = [pb.Point(x=x, y=y) for x, y in found.landmarks.tolist()]
    return pb.Detection(
        box=pb.Box(**asdict(found.box)),
        landmarks=pb.Landmarks(**dict(zip(faces.LANDMARKS, points, strict=True))),
        score=found.score,
    )


@dataclass(frozen=True)
class _Side:
    """One side of a comparison: its embedding and, if it is a face, how that was prepared."""

    vector: Vector
    prepared: pb.PreparedFace | None = None


def _side(model: ServedModel, side: pb.CompareSide, field: str) -> _Side:
    """Return the embedding of one side of a comparison."""
    kind = side.WhichOneof("side")
    try:
        if kind == "face":
            if side.face.detect.selection == pb.FACE_SELECTION_ALL:
                raise Refusal(
                    pb.ERROR_REASON_FACE_SELECTION,
                    "a comparison is of two faces: ask for the only one or the largest",
                    "detect.selection",
                )
            (face,) = model.embed(side.face)
            return _Side(face.raw, pb.PreparedFace(**_preparation(face)))
        if kind == "embedding":
            return _Side(model.space.vector(side.embedding))
        raise Refusal(pb.ERROR_REASON_FIELD_MISSING, "give a face or an embedding")
    except Refusal as refusal:
        raise refusal.within(f"{field}.{kind}" if kind else field) from refusal


def _criterion(
    model: ServedModel, request: pb.CompareRequest
) -> Callable[[float], pb.CompareResponse]:
    """Return what decides on a similarity, as the beginning of the answer."""
    kind = request.WhichOneof("criterion")
    if kind == "operating_point":
        point = model.operating_point(request.operating_point)
        return lambda similarity: pb.CompareResponse(
            decision=point.decide(similarity),
            threshold=point.threshold,
            expected_false_match_rate=point.false_match_rate,
        )
    if kind is None:
        return lambda _: pb.CompareResponse()
    threshold = request.threshold
    if not -1 <= threshold <= 1:
        raise Refusal(
            pb.ERROR_REASON_THRESHOLD,
            f"{threshold} is not a cosine similarity, which is a number from -1 to 1",
            "threshold",
        )
    return lambda similarity: pb.CompareResponse(
        decision=pb.DECISION_MATCH if similarity >= threshold else pb.DECISION_NO_MATCH,
        threshold=threshold,
    )
