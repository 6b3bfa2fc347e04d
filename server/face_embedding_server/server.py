"""The server as a whole: its life from the first port to the last answer."""

import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import grpc

from face_embedding_server.errors import OperatorError
from face_embedding_server.inference import threads
from face_embedding_server.inference.model import ServedModel
from face_embedding_server.inference.registry import Registry
from face_embedding_server.inference.workers import Workers
from face_embedding_server.rpc import channelz, face_embedding, health, reflection, shares
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.face_embedding import FaceEmbeddingService
from face_embedding_server.rpc.handlers import Handlers
from face_embedding_server.rpc.health import Health
from face_embedding_server.rpc.interceptor import Interceptor, Pools
from face_embedding_server.rpc.methods import handler
from face_embedding_server.rpc.open_inference import service as open_inference
from face_embedding_server.rpc.open_inference.service import InferenceService
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.rpc.shares import ShareOf
from face_embedding_server.security import tls
from face_embedding_server.security.access import Access
from face_embedding_server.security.tls import TlsFiles
from face_embedding_server.settings import Settings, SettingsError
from face_embedding_server.telemetry.metrics import Metrics, MetricsServer
from face_embedding_server.telemetry.tracing import CallTracer
from face_embedding_server.watchdog import Watchdog

# The methods of the project's own services, by the service's full name.
SERVICES = {
    face_embedding.NAME: face_embedding.METHODS,
    open_inference.NAME: open_inference.METHODS,
}
# A probe is one short call on a connection of its own; who opens calls and leaves them is cut off.
_PROBE_OPTIONS = {
    "grpc.max_receive_message_length": health.MOST_BYTES,
    "grpc.max_concurrent_streams": 4,
    "grpc.max_connection_age_ms": 30_000,
    "grpc.max_connection_age_grace_ms": 1_000,
}
_LAST_GRACE_S = 0.2
# By then a call that gRPC does not let go of is left behind.
_LAST_WAIT_S = 0.4
# And by then the process has ended.
_END_S = 0.9
_MS = 1000
# Calls that gRPC has and nobody has looked at; bounded by the calls of each connection as well.
_MOST_PENDING = 100_000
_NO_COMPRESSION = 1 << int(grpc.Compression.NoCompression)
# A client may ping that often even while it has no call.
_MIN_CLIENT_PING_S = 10


_log = logging.getLogger(__name__)


class EngineStalledError(OperatorError):
    """An engine makes no progress any more; the message says which."""


def _do_nothing() -> None:
    """Leave it to whoever looks at `Server.fault`."""


class Server:
    """A listening server. It answers health checks at once, and requests once it is loaded.

    Args:
        settings: what it is told.
        tracer: traces its calls; None where nobody wants that.
        give_up: called if an engine makes no progress any more; `fault` then says which.

    Raises:
        SettingsError, ModelError, OperatorError: if it cannot be as the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        tracer: CallTracer | None = None,
        give_up: Callable[[], None] = _do_nothing,
    ) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._registry = Registry(settings, self.metrics)
        access = Access(
            settings.access,
            takes_tokens=bool(settings.tls_certificate) or settings.allow_plaintext_tokens,
            takes_certificates=bool(settings.tls_client_ca),
        )
        self._pools = _pools(settings, shares.by_caller(access))
        self._admission = Admission(
            settings.max_bytes_in_flight, self._pools.streams.patience, settings.stream_idle_s
        )
        self._health = Health(
            [face_embedding.NAME, open_inference.NAME],
            _open_patience_s(settings),
        )
        self._workers = Workers()
        # What happened to an engine that makes no progress; empty if all is well.
        self.fault = ""
        self._given_up = give_up
        self._watchdog = Watchdog(
            self._registry.models,
            self._registry.detector,
            settings.stall_s,
            self._engine_fails,
            self._engine_stalls,
        )
        version = importlib.metadata.version("face-embedding")
        shared = (self._registry, self._admission, settings, self._workers)
        self._server = grpc.server(
            self._pools.unary,
            options=[*_options(settings).items()],
            interceptors=[
                Interceptor(SERVICES, access, self._admission, self.metrics, tracer, self._pools)
            ],
        )
        for name, service in (
            (face_embedding.NAME, FaceEmbeddingService(*shared)),
            (
                open_inference.NAME,
                InferenceService(*shared, version, lambda: self._health.is_serving),
            ),
        ):
            self._server.add_generic_rpc_handlers((handler(name, SERVICES[name], service),))
        self._server.add_generic_rpc_handlers((self._health.handler(),))
        names = [face_embedding.NAME, open_inference.NAME, health.NAME]
        if settings.channelz:
            self._server.add_generic_rpc_handlers((channelz.handler(),))
            names.append(channelz.NAME)
        if settings.reflection:
            listed = [*names, reflection.NAME]
            self._server.add_generic_rpc_handlers((reflection.handler(listed),))
        self.port = self._bind(self._server, settings.address, self._credentials())
        self._probed: grpc.Server | None = None
        self.health_port: int | None = None
        if settings.health_address:
            self._probed = grpc.server(
                ThreadPoolExecutor(1),  # Health has threads of its own.
                options=[*(_options(settings) | _PROBE_OPTIONS).items()],
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
        callers go elsewhere; accepted calls have `grace_s` in all to finish, and streams answer
        what they have taken. If an engine makes no progress, nothing is waited for.
        """
        until = time.monotonic() + (0 if self.fault else self._settings.grace_s)
        self._health.set(health.NOT_SERVING)
        self._admission.refuse()
        if self._registry.is_ready and not self.fault:
            time.sleep(self._settings.drain_s)
        self._admission.finish(max(0, until - time.monotonic()))
        # What is left are refusals under way, and callers who watch health for ever.
        for each in filter(None, (self._server, self._probed)):
            each.stop(_LAST_GRACE_S).wait(_LAST_WAIT_S)
        if self._metrics_server:
            self._metrics_server.close()
        self._watchdog.close()
        for pool in (self._pools.unary, self._pools.streams, self._pools.open):
            pool.close()
        self._health.close()
        self._workers.close()
        self._registry.close()

    def _engine_fails(self, fails: bool) -> None:
        if self._registry.is_ready and not self._admission.is_stopping:
            self._health.set(health.NOT_SERVING if fails else health.SERVING)

    def _engine_stalls(self, fault: str) -> None:
        _log.critical("%s: the server ends, as it could not answer any more", fault)
        self._health.set(health.NOT_SERVING)
        self.fault = fault
        self._given_up()

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


def _pools(settings: Settings, share_of: ShareOf) -> Pools:
    unary, streams, opened = (
        Handlers(size, aside, threads.WAITING, Patience(patience_s), share_of, ahead)
        for size, aside, patience_s, ahead in (
            (threads.handlers(), threads.ASIDE, settings.patience_s, threads.handlers()),
            (threads.STREAMS, 0, settings.patience_s, 0),
            (threads.OPEN, threads.OPEN_ASIDE, _open_patience_s(settings), 0),
        )
    )
    return Pools(unary, streams, opened)


def _open_patience_s(settings: Settings) -> float:
    """Return how long who needs no permission is waited for."""
    return min(threads.OPEN_PATIENCE_S, settings.patience_s)


def _options(settings: Settings) -> dict[str, int]:
    options = {
        "grpc.max_receive_message_length": settings.max_message_bytes,
        "grpc.max_send_message_length": settings.max_message_bytes,
        # A message that unfolds to a thousand times its size is refused before it does.
        "grpc.compression_enabled_algorithms_bitset": _NO_COMPRESSION,
        # A client keeps back what is more; whatever else is in its way here would cost more.
        "grpc.max_concurrent_streams": settings.max_calls_per_connection,
        # gRPC's own 1000 ends calls without a reason; here each is refused with one.
        "grpc.server.max_pending_requests": _MOST_PENDING,
        "grpc.server.max_pending_requests_hard_limit": _MOST_PENDING,
        "grpc.so_reuseport": 0,  # A second server on one port is a mistake to be told.
        "grpc.keepalive_time_ms": int(settings.keepalive_s * _MS),
        "grpc.keepalive_timeout_ms": int(settings.keepalive_timeout_s * _MS),
        # The one before alone leaves the time that a ping has to be answered in at a minute.
        "grpc.http2.ping_timeout_ms": int(settings.keepalive_timeout_s * _MS),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": _MIN_CLIENT_PING_S * _MS,
    }
    if settings.max_connection_age_s:
        options |= {
            "grpc.max_connection_age_ms": int(settings.max_connection_age_s * _MS),
            "grpc.max_connection_age_grace_ms": int(settings.max_connection_age_grace_s * _MS),
        }
    return options


class Events(Protocol):
    """What a running server is told from outside, and its end."""

    def looks(self, watch_s: float) -> Iterator[bool]:
        """Yield whenever the store is to be looked at for changed models.

        Args:
            watch_s: seconds between looks; 0 looks only when a person asks for it.

        Yields:
            Whether a person asked, so that what was refused before is tried again; ends when the
            server is to stop.
        """

    def stop(self) -> None:
        """Have `looks` end."""

    def end_within(self, seconds: float) -> None:
        """Have the process end by then, whatever hangs."""


def run(
    settings: Settings,
    events: Events,
    announce: Callable[[int, ServedModel], None],
    tracer: CallTracer | None = None,
) -> None:
    """Serve until told to stop.

    Args:
        settings: the server's settings.
        events: tell it to look at the store, and to stop.
        announce: called once, with the port and the default model, when requests are answered.
        tracer: traces the calls; None where nobody wants that.

    Raises:
        SettingsError, ModelError, OperatorError: if the server cannot be started, or an engine
            makes no progress any more.
    """
    server = Server(settings, tracer, events.stop)
    server.start()
    try:
        announce(server.port, server.load())
        for retry in events.looks(settings.watch_s):
            server.refresh(retry=retry)
        left_s = 0 if server.fault else max(settings.drain_s, settings.grace_s)
        events.end_within(left_s + _END_S)
    finally:
        server.stop()
    if server.fault:
        raise EngineStalledError(server.fault)
