"""A server in between that alters what is asked or answered."""

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc


class Tampering(
    pb_grpc.FaceEmbeddingServiceServicer,
    health_pb2_grpc.HealthServicer,  # type: ignore[misc]  # Not in its types.
):
    """Passes calls on to a real server, and alters what is asked or answered."""

    def __init__(self, channel: grpc.Channel, alter: Callable[[Any], Any]) -> None:
        self.stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self.alter = alter

    def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return self.forward(self.stub.Embed, request, context)

    def Compare(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return self.forward(self.stub.Compare, request, context)

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return self.forward(self.stub.GetModelInfo, request, context)

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return self.forward(self.stub.ListModels, request, context)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return self.forward(self.health.Check, request, context)

    def EmbedStream(self, requests: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        answers = (self.alter(answer) for answer in self.stub.EmbedStream(requests))
        return (answer for answer in answers if answer is not None)

    def forward(self, method: Any, request: Any, context: Any) -> Any:
        try:
            return self.alter(method(self.alter(request)))
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())
