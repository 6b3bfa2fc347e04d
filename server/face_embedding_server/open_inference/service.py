"""The service of the Open Inference Protocol: one method a call."""

import functools
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import grpc

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding_server import answering, errors, streaming
from face_embedding_server.answering import parse, refusal_of
from face_embedding_server.calls import Calls
from face_embedding_server.errors import Refusal
from face_embedding_server.hosting import ModelHost
from face_embedding_server.open_inference import faces
from face_embedding_server.open_inference.faces import OUTPUTS, Job
from face_embedding_server.serving import EmbeddedFace
from face_embedding_server.settings import Settings
from face_embedding_server.streaming import Stream
from face_embedding_server.telemetry import current
from face_embedding_server.workers import Workers

NAME = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_SERVER_NAME = "face-embedding"
_ANY_NUMBER = -1


class InferenceService:
    """Answers requests with the models that the host knows.

    Args:
        host: knows the models.
        calls: counts the calls.
        settings: the limits.
        workers: threads that take the faces of one call at the same time.
        version: the server's version.
    """

    def __init__(
        self, host: ModelHost, calls: Calls, settings: Settings, workers: Workers, version: str
    ) -> None:
        self._host = host
        self._calls = calls
        self._max_faces = settings.max_faces_per_request
        self._max_bytes = settings.max_message_bytes
        self._workers = workers
        self._version = version

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service in the form that a server takes."""
        unary = functools.partial(answering.unary, self._calls.admitted)
        # Answered also while the server stops.
        probe = functools.partial(answering.unary, nullcontext)
        methods = {
            "ServerLive": probe(oip.ServerLiveRequest, self._server_live),
            "ServerReady": probe(oip.ServerReadyRequest, self._server_ready),
            "ModelReady": probe(oip.ModelReadyRequest, self._model_ready),
            "ServerMetadata": unary(oip.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": unary(oip.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": unary(oip.ModelInferRequest, self._model_infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                self._model_stream_infer, response_serializer=answering.serialize
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    def _server_live(self, _: oip.ServerLiveRequest) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    def _server_ready(self, _: oip.ServerReadyRequest) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._host.is_ready and not self._calls.is_stopping)

    def _model_ready(self, request: oip.ModelReadyRequest) -> oip.ModelReadyResponse:
        try:
            self._host.get(request.name, request.version)
        except Refusal:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=not self._calls.is_stopping)

    def _server_metadata(self, _: oip.ServerMetadataRequest) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name=_SERVER_NAME, version=self._version)

    def _model_metadata(self, request: oip.ModelMetadataRequest) -> oip.ModelMetadataResponse:
        model = self._host.get(request.name, request.version, "name")
        response = oip.ModelMetadataResponse(
            name=model.info.name, versions=[model.version], platform=model.info.backend
        )
        for each in faces.inputs_of(model.reader.size):
            response.inputs.add(
                name=each.name, datatype=each.datatype, shape=[_ANY_NUMBER, *each.face_shape]
            )
        for name in OUTPUTS:
            shape = [_ANY_NUMBER, model.space.size]
            response.outputs.add(name=name, datatype="FP32", shape=shape)
        return response

    def _model_infer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        """Embed the faces of one request."""
        model = self._host.get(request.model_name, request.model_version, "model_name")
        outputs = faces.wanted_outputs(request)
        embedded = self._embed(faces.jobs(request, model, self._max_faces))
        with current.stage(current.RESPOND):
            response = oip.ModelInferResponse(
                model_name=model.info.name, model_version=model.version, id=request.id
            )
            faces.add_outputs(response, outputs, embedded, raw=bool(request.raw_input_contents))
            faces.add_warnings(response, embedded)
        return response

    def _embed(self, jobs: list[Job]) -> list[EmbeddedFace]:
        if len(jobs) == 1:
            (job,) = jobs
            return [_of_face(0, functools.partial(self._workers.run, job.photograph, job.embed))]
        running = [self._workers.submit(job.photograph, job.embed) for job in jobs]
        return [_of_face(index, each.result) for index, each in enumerate(running)]

    def _model_stream_infer(
        self, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[oip.ModelStreamInferResponse]:
        """Answer requests in their order, one after the other, as the protocol's clients expect."""
        stream: Stream[oip.ModelStreamInferResponse] = Stream(1, self._max_bytes)

        def begin(data: bytes) -> None:
            stream.done(self._infer_or_error(data), len(data))

        return streaming.answers(requests, context, self._calls, stream, begin)

    def _infer_or_error(self, data: bytes) -> oip.ModelStreamInferResponse:
        response = oip.ModelStreamInferResponse()
        try:
            request = parse(oip.ModelInferRequest, data)
            response.infer_response.id = request.id
            response.infer_response.CopyFrom(self._model_infer(request))
        except Exception as error:
            response.error_message = errors.status_of(refusal_of(error)).message
        return response


def _of_face(index: int, embed: Callable[[], EmbeddedFace]) -> EmbeddedFace:
    """Return the embedding of one face; its refusal names the face."""
    try:
        return embed()
    except Refusal as refusal:
        raise Refusal(refusal.reason, refusal.message, f"inputs[0][{index}]") from refusal
