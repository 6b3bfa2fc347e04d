"""The service of the Open Inference Protocol: one method a call."""

import functools
from collections.abc import Callable, Iterator

import grpc

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding_server import context
from face_embedding_server.errors import Refusal
from face_embedding_server.inference.model import EmbeddedFace
from face_embedding_server.inference.registry import Registry
from face_embedding_server.inference.workers import Workers
from face_embedding_server.rpc import methods, streaming
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.methods import AnyMethod, Method, StreamMethod
from face_embedding_server.rpc.open_inference import inputs
from face_embedding_server.rpc.open_inference.inputs import OUTPUTS, Job
from face_embedding_server.rpc.status import report, status_of
from face_embedding_server.rpc.streaming import Stream
from face_embedding_server.settings import Settings

NAME = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_SERVER_NAME = "face-embedding"
_ANY_NUMBER = -1


class InferenceService:
    """Answers requests with the models of a registry.

    Args:
        registry: knows the models.
        admission: asks streams to end.
        settings: the limits.
        workers: threads that take the faces of one call at the same time.
        version: the server's version.
        is_serving: whether health says so.
    """

    def __init__(
        self,
        registry: Registry,
        admission: Admission,
        settings: Settings,
        workers: Workers,
        version: str,
        is_serving: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._max_faces = settings.max_faces_per_request
        self._max_bytes = settings.max_message_bytes
        self._workers = workers
        self._version = version
        self._is_serving = is_serving

    def _server_live(self, _: oip.ServerLiveRequest) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    def _server_ready(self, _: oip.ServerReadyRequest) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._is_serving())

    def _model_ready(self, request: oip.ModelReadyRequest) -> oip.ModelReadyResponse:
        try:
            self._registry.get(request.name, request.version)
        except Refusal:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=self._is_serving())

    def _server_metadata(self, _: oip.ServerMetadataRequest) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name=_SERVER_NAME, version=self._version)

    def _model_metadata(self, request: oip.ModelMetadataRequest) -> oip.ModelMetadataResponse:
        model = self._registry.get(request.name, request.version, "name")
        response = oip.ModelMetadataResponse(
            name=model.info.name, versions=[model.version], platform=model.info.backend
        )
        for each in inputs.inputs_of(model.reader.size):
            response.inputs.add(
                name=each.name, datatype=each.datatype, shape=[_ANY_NUMBER, *each.face_shape]
            )
        for name in OUTPUTS:
            shape = [_ANY_NUMBER, model.space.size]
            response.outputs.add(name=name, datatype="FP32", shape=shape)
        return response

    def _model_infer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        """Embed the faces of one request."""
        model = self._registry.get(request.model_name, request.model_version, "model_name")
        outputs = inputs.wanted_outputs(request)
        embedded = self._embed(inputs.jobs(request, model, self._max_faces))
        with context.stage(context.RESPOND):
            response = oip.ModelInferResponse(
                model_name=model.info.name, model_version=model.version, id=request.id
            )
            inputs.add_outputs(response, outputs, embedded, raw=bool(request.raw_input_contents))
            inputs.add_precision(response, model.info.precision)
            inputs.add_warnings(response, embedded)
            inputs.add_turns(response, embedded)
        return response

    def _embed(self, jobs: list[Job]) -> list[EmbeddedFace]:
        if len(jobs) == 1:
            (job,) = jobs
            return [_of_face(0, functools.partial(self._workers.run, job.photograph, job.embed))]
        running = [self._workers.submit(job.photograph, job.embed) for job in jobs]
        waited_for = [functools.partial(context.result_of, each) for each in running]
        return [_of_face(index, each) for index, each in enumerate(waited_for)]

    def _model_stream_infer(
        self, requests: Iterator[bytes], call: grpc.ServicerContext
    ) -> Iterator[oip.ModelStreamInferResponse]:
        """Answer requests in their order, one after the other, as the protocol's clients expect."""
        stream: Stream[oip.ModelStreamInferResponse] = Stream(1, self._max_bytes)

        def begin(data: bytes) -> None:
            stream.done(self._infer_or_error(data), len(data))

        return streaming.answers(requests, call, self._admission, stream, begin)

    def _infer_or_error(self, data: bytes) -> oip.ModelStreamInferResponse:
        response = oip.ModelStreamInferResponse()
        try:
            request: oip.ModelInferRequest = methods.parse(oip.ModelInferRequest, data)
            response.infer_response.id = request.id
            response.infer_response.CopyFrom(self._model_infer(request))
        except Exception as error:
            response.error_message = status_of(report(error)).message
        return response


# Answered also while the server stops.
_probe = functools.partial(Method, permissions=methods.OPEN, admitted=False)
_describe = functools.partial(Method, permissions=methods.DESCRIBE)
METHODS: tuple[AnyMethod, ...] = (
    _probe("ServerLive", oip.ServerLiveRequest, InferenceService._server_live),
    _probe("ServerReady", oip.ServerReadyRequest, InferenceService._server_ready),
    _probe("ModelReady", oip.ModelReadyRequest, InferenceService._model_ready),
    _describe("ServerMetadata", oip.ServerMetadataRequest, InferenceService._server_metadata),
    _describe("ModelMetadata", oip.ModelMetadataRequest, InferenceService._model_metadata),
    Method("ModelInfer", oip.ModelInferRequest, InferenceService._model_infer, methods.EMBED),
    StreamMethod("ModelStreamInfer", InferenceService._model_stream_infer, methods.EMBED),
)


def _of_face(index: int, embed: Callable[[], EmbeddedFace]) -> EmbeddedFace:
    """Return the embedding of one face; its refusal names the face."""
    try:
        return embed()
    except Refusal as refusal:
        raise Refusal(refusal.reason, refusal.message, f"inputs[0][{index}]") from refusal
