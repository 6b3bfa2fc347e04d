"""The server as a whole: its life from the first port to the last answer."""

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server import serving
from face_embedding_server.sample_faces import sample_faces
from face_embedding_server.service import FaceEmbeddingService
from face_embedding_server.serving import ModelHost, ServedModel
from face_embedding_server.settings import Settings, SettingsError

_SERVICE_NAME = pb.DESCRIPTOR.services_by_name["FaceEmbeddingService"].full_name
_HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_WHOLE_SERVER = ""


class Server:
    """A listening server. It answers health checks at once, and requests once it is loaded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stored = Store(settings.store).get(settings.model)
        self._host = ModelHost(settings.model)
        self._health = health_aio.HealthServicer()
        self._model: ServedModel | None = None
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.so_reuseport", 0),  # A second server on one port is a mistake to be told.
            ]
        )
        service = FaceEmbeddingService(self._host, settings)
        pb_grpc.add_FaceEmbeddingServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (_SERVICE_NAME, _HEALTH_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = self._bind()

    async def start(self) -> None:
        """Listen. Until the model is loaded, health is NOT_SERVING and requests are refused."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def load(self) -> ServedModel:
        """Load the model, let it answer once, and only then let requests in.

        Raises:
            BackendError: if the backend cannot run it.
            StoreError: if the model's files are missing or damaged.
        """
        model = await asyncio.to_thread(serving.load, self._stored, self._settings)
        self._model = model
        await model.infer(sample_faces(model.reader.width, model.reader.height)[0].pixels_bgr)
        self._host.serve(model)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return model

    async def stop(self) -> None:
        """Stop without losing a call.

        Health says NOT_SERVING and new calls are answered UNAVAILABLE for `drain_s`, so that
        callers go elsewhere; accepted calls then have `grace_s` to finish.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._host.stop()
        if self._model is not None:
            await asyncio.sleep(self._settings.drain_s)
        await self._server.stop(self._settings.grace_s)
        if self._model is not None:
            await asyncio.to_thread(self._model.backend.close)

    def _bind(self) -> int:
        address = self._settings.address
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(
                f"cannot listen on {address}: {error}; is another server there?"
            ) from error
        return port

    async def _set_health(self, status: int) -> None:
        for name in (_WHOLE_SERVER, _SERVICE_NAME):
            await self._health.set(name, status)


async def run(
    settings: Settings, stop: asyncio.Event, announce: Callable[[int, ServedModel], None]
) -> None:
    """Serve until told to stop.

    Args:
        settings: the server's settings.
        stop: to be set when the server is to stop.
        announce: called once, with the port and the model, when requests are answered.

    Raises:
        SettingsError, ModelError, BackendError: if the server cannot be started.
    """
    server = Server(settings)
    await server.start()
    loading = asyncio.create_task(server.load())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            announce(server.port, loading.result())
            await stopping
    finally:
        loading.cancel()
        stopping.cancel()
        await server.stop()
