"""The server as a whole: its life from the first port to the last answer."""

import importlib.metadata
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_reflection.v1alpha import reflection

from face_embedding_server.inference import threads
from face_embedding_server.inference.model import ServedModel
from face_embedding_server.inference.registry import Registry
from face_embedding_server.inference.workers import Workers
from face_embedding_server.rpc import face_embedding, health
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.face_embedding import FaceEmbeddingService
from face_embedding_server.rpc.health import Health
from face_embedding_server.rpc.interceptor import Interceptor, Pools
from face_embedding_server.rpc.methods import handler
from face_embedding_server.rpc.open_inference import service as open_inference
from face_embedding_server.rpc.open_inference.service import InferenceService
from face_embedding_server.security import tls
from face_embedding_server.security.access import Access
from face_embedding_server.security.tls import TlsFiles
from face_embedding_server.settings import Settings, SettingsError
from face_embedding_server.telemetry.metrics import Metrics, MetricsServer
from face_embedding_server.telemetry.tracing import CallTracer

_CHANNELZ_NAME = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name
# The methods of the project's own services, by the service's full name.
SERVICES = {
    face_embedding.NAME: face_embedding.METHODS,
    open_inference.NAME: open_inference.METHODS,
}
# A probe is one short call on a connection of its own; who opens calls and leaves them is cut off.
_PROBE_OPTIONS = [
    ("grpc.max_concurrent_streams", 4),
    ("grpc.max_connection_age_ms", 30_000),
    ("grpc.max_connection_age_grace_ms", 1_000),
]
_LAST_GRACE_S = 1
# By then a call that gRPC does not let go of is left behind.
_LAST_WAIT_S = 5
_MS = 1000
# A client may ping that often even while it has no call.
_MIN_CLIENT_PING_S = 10


class Server:
    """A listening server. It answers health checks at once, and requests once it is loaded.

    Args:
        settings: what it is told.
        tracer: traces its calls; None where nobody wants that.

    Raises:
        SettingsError, ModelError, OperatorError: if it cannot be as the settings say.
    """

    def __init__(self, settings: Settings, tracer: CallTracer | None = None) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._registry = Registry(settings, self.metrics)
        self._admission = Admission()
        self._health = Health([face_embedding.NAME, open_inference.NAME])
        self._workers = Workers()
        access = Access(
            settings.access,
            takes_tokens=bool(settings.tls_certificate) or settings.allow_plaintext_tokens,
            takes_certificates=bool(settings.tls_client_ca),
        )
        version = importlib.metadata.version("face-embedding")
        shared = (self._registry, self._admission, settings, self._workers)
        self._server = grpc.server(
            ThreadPoolExecutor(threads.HANDLERS, "handler"),
            options=_options(settings),
            interceptors=[
                Interceptor(SERVICES, access, self._admission, self.metrics, tracer, _pools())
            ],
        )
        for name, service in (
            (face_embedding.NAME, FaceEmbeddingService(*shared)),
            (open_inference.NAME, InferenceService(*shared, version)),
        ):
            self._server.add_generic_rpc_handlers((handler(name, SERVICES[name], service),))
        self._server.add_generic_rpc_handlers((self._health.handler(),))
        names = [face_embedding.NAME, open_inference.NAME, health.NAME]
        if settings.channelz:
            channelz.add_channelz_servicer(self._server)
            names.append(_CHANNELZ_NAME)
        if settings.reflection:
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        self.port = self._bind(self._server, settings.address, self._credentials())
        self._probed: grpc.Server | None = None
        self.health_port: int | None = None
        if settings.health_address:
            self._probed = grpc.server(
                ThreadPoolExecutor(1),  # Health has threads of its own.
                options=[*_options(settings), *_PROBE_OPTIONS],
            )
            self._probed.add_generic_rpc_handlers((self._health.handler(),))
            self.health_port = self._bind(self._probed, settings.health_address, None)
        self._metrics_server: MetricsServer | None = None
        self.metrics_port: int | None = None
        if settings.metrics_address:
            self._metrics_server = MetricsServer(self.metrics, settings.metrics_address)
            self.metrics_port = self._metrics_server.port

    def start(self) -> None:
        """Listen. Until the models are loaded, health is NOT_SERVING and requests are refused."""
        self._health.set(health.NOT_SERVING)
        self._server.start()
        if self._probed:
            self._probed.start()

    def load(self) -> ServedModel:
        """Load the models, let them prove themselves, and only then let requests in.

        Returns:
            The default model.

        Raises:
            OperatorError: if the backend or the detector cannot be run.
            StoreError: if a model's files are missing or damaged.
        """
        model = self._registry.load()
        self._health.set(health.SERVING)
        return model

    def refresh(self, *, retry: bool) -> None:
        """Load what is new or was changed in the store; see `Registry.refresh`."""
        self._registry.refresh(retry=retry)

    def stop(self) -> None:
        """Stop without losing a call.

        Health says NOT_SERVING and new calls are answered UNAVAILABLE for `drain_s`, so that
        callers go elsewhere; accepted calls then have `grace_s` to finish, and streams answer what
        they have taken.
        """
        self._health.set(health.NOT_SERVING)
        self._admission.refuse()
        if self._registry.is_ready:
            time.sleep(self._settings.drain_s)
        self._admission.finish(self._settings.grace_s)
        # What is left are refusals under way, and callers who watch health for ever.
        for each in filter(None, (self._server, self._probed)):
            each.stop(_LAST_GRACE_S).wait(_LAST_WAIT_S)
        if self._metrics_server:
            self._metrics_server.close()
        self._workers.close()
        self._registry.close()

    def _credentials(self) -> grpc.ServerCredentials | None:
        certificate, key = self._settings.tls_certificate, self._settings.tls_key
        if not (certificate and key):
            return None
        files = TlsFiles(certificate, key, self._settings.tls_client_ca)
        return tls.server_credentials(files, self.metrics.certificate_read)

    def _bind(
        self, server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None
    ) -> int:
        try:
            if credentials:
                return server.add_secure_port(address, credentials)
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(
                f"cannot listen on {address}: another server is there, or the host is not of this "
                f"machine ({error})"
            ) from error


def _pools() -> Pools:
    return Pools(
        ThreadPoolExecutor(threads.STREAMS, "stream"), ThreadPoolExecutor(threads.OPEN, "open")
    )


def _options(settings: Settings) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.so_reuseport", 0),  # A second server on one port is a mistake to be told.
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * _MS)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * _MS)),
        # The one before alone leaves the time that a ping has to be answered in at a minute.
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive_timeout_s * _MS)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_CLIENT_PING_S * _MS),
    ]
    if settings.max_connection_age_s:
        options += [
            ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * _MS)),
            ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace_s * _MS)),
        ]
    return options


def run(
    settings: Settings,
    looks: Iterable[bool],
    announce: Callable[[int, ServedModel], None],
    tracer: CallTracer | None = None,
) -> None:
    """Serve until told to stop.

    Args:
        settings: the server's settings.
        looks: yields whenever the store is to be looked at for changed models, and whether what
            was refused before is to be tried again; ends when the server is to stop.
        announce: called once, with the port and the default model, when requests are answered.
        tracer: traces the calls; None where nobody wants that.

    Raises:
        SettingsError, ModelError, OperatorError: if the server cannot be started.
    """
    server = Server(settings, tracer)
    server.start()
    try:
        announce(server.port, server.load())
        for retry in looks:
            server.refresh(retry=retry)
    finally:
        server.stop()
