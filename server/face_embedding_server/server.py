"""The server as a whole: its life from the first port to the last answer."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_reflection.v1alpha import reflection

from face_embedding_models.store import Store
from face_embedding_server import service, serving
from face_embedding_server.calls import Calls
from face_embedding_server.service import FaceEmbeddingService
from face_embedding_server.serving import ModelHost, ServedModel
from face_embedding_server.settings import Settings, SettingsError
from face_embedding_server.workers import Workers

_HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_WHOLE_SERVER = ""
_HANDLERS = 128
_LAST_GRACE_S = 0.2


class Server:
    """A listening server. It answers health checks at once, and requests once it is loaded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stored = Store(settings.store).get(settings.model)
        self._host = ModelHost(settings.model)
        self._calls = Calls()
        # Non-blocking: a watcher does not occupy a thread.
        self._health = HealthServicer(experimental_non_blocking=True)
        self._model: ServedModel | None = None
        self._workers = Workers()
        self._server = grpc.server(
            ThreadPoolExecutor(_HANDLERS, "handler"),
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.so_reuseport", 0),  # A second server on one port is a mistake to be told.
            ],
        )
        answering = FaceEmbeddingService(self._host, self._calls, settings, self._workers)
        self._server.add_generic_rpc_handlers((answering.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (service.NAME, _HEALTH_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = self._bind()

    def start(self) -> None:
        """Listen. Until the model is loaded, health is NOT_SERVING and requests are refused."""
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server.start()

    def load(self) -> ServedModel:
        """Load the model, let it answer once, and only then let requests in.

        Raises:
            BackendError: if the backend cannot run it.
            StoreError: if the model's files are missing or damaged.
        """
        model = serving.load(self._stored, self._settings)
        self._model = model
        self._host.serve(model)
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return model

    def stop(self) -> None:
        """Stop without losing a call.

        Health says NOT_SERVING and new calls are answered UNAVAILABLE for `drain_s`, so that
        callers go elsewhere; accepted calls then have `grace_s` to finish, and streams answer what
        they have taken.
        """
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._calls.refuse()
        if self._model is not None:
            time.sleep(self._settings.drain_s)
        self._calls.finish(self._settings.grace_s)
        # What is left are refusals under way, and callers who watch health for ever.
        self._server.stop(_LAST_GRACE_S).wait()
        self._workers.close()
        if self._model is not None:
            self._model.backend.close()

    def _bind(self) -> int:
        address = self._settings.address
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(
                f"cannot listen on {address}: another server is there, or the host is not of this "
                f"machine ({error})"
            ) from error
        return port

    def _set_health(self, status: int) -> None:
        for name in (_WHOLE_SERVER, service.NAME):
            self._health.set(name, status)


def run(
    settings: Settings,
    wait_for_stop: Callable[[], None],
    announce: Callable[[int, ServedModel], None],
) -> None:
    """Serve until told to stop.

    Args:
        settings: the server's settings.
        wait_for_stop: returns when the server is to stop.
        announce: called once, with the port and the model, when requests are answered.

    Raises:
        SettingsError, ModelError, BackendError: if the server cannot be started.
    """
    server = Server(settings)
    server.start()
    try:
        announce(server.port, server.load())
        wait_for_stop()
    finally:
        server.stop()
