"""The server as a whole: its life from the first port to the last answer."""

import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import grpc

from face_embedding_server import listening
from face_embedding_server.errors import OperatorError
from face_embedding_server.inference import threads
from face_embedding_server.inference.model import ModelInfo, ServedModel
from face_embedding_server.inference.registry import Registry
from face_embedding_server.inference.workers import Workers
from face_embedding_server.listening import Probes
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
from face_embedding_server.settings import Settings
from face_embedding_server.telemetry.metrics import Metrics, MetricsServer
from face_embedding_server.telemetry.tracing import CallTracer
from face_embedding_server.watchdog import Watchdog

# The methods of the project's own services, by the service's full name.
SERVICES = {
    face_embedding.NAME: face_embedding.METHODS,
    open_inference.NAME: open_inference.METHODS,
}
# After that a process that was told to stop, and waits for nothing, has ended.
_END_S = 0.9

_log = logging.getLogger(__name__)


class EngineStalledError(OperatorError):
    """An engine makes no progress any more; the message says which."""


def _do_nothing() -> None:
    """Leave it to whoever looks at `Server.fault`."""


def most_stop_s(settings: Settings) -> float:
    """Return the seconds after which a server that was told to stop has ended, whatever hangs."""
    return max(settings.drain_s, settings.grace_s) + _END_S


class Server:
    """A listening server. It answers health checks at once, and requests once it is loaded.

    Args:
        settings: what it is told.
        tracer: traces its calls; None where nobody wants that.
        give_up: called if an engine makes no progress any more; `fault` then says which.
        tell: called whenever it begins or ends to serve, with which of these.
        shares_port: whether other processes listen on its port as well.

    Raises:
        SettingsError, ModelError, OperatorError: if it cannot be as the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        tracer: CallTracer | None = None,
        give_up: Callable[[], None] = _do_nothing,
        tell: Callable[[bool], None] = health.tell_nobody,
        *,
        shares_port: bool = False,
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
        self._health = Health([*SERVICES], listening.open_patience_s(settings), tell)
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
            options=listening.options(settings, shares_port=shares_port),
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
        self.port = listening.bind(self._server, settings.address, self._credentials())
        self._probes: Probes | None = None
        self.health_port: int | None = None
        if settings.health_address:
            self._probes = Probes(settings, settings.health_address, self._health)
            self.health_port = self._probes.port
        self._metrics_server: MetricsServer | None = None
        self.metrics_port: int | None = None
        if settings.metrics_address:
            self._metrics_server = MetricsServer(self.metrics.registry, settings.metrics_address)
            self.metrics_port = self._metrics_server.port

    def start(self) -> None:
        """Listen. Until the models are loaded, health is NOT_SERVING and requests are refused."""
        self._health.set(health.NOT_SERVING)
        self._server.start()
        if self._probes:
            self._probes.start()

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
        # In this order, so that who sees it stop is not let in any more.
        self._admission.refuse()
        self._health.set(health.NOT_SERVING)
        if self._registry.is_ready and not self.fault:
            time.sleep(self._settings.drain_s)
        self._admission.finish(max(0, until - time.monotonic()))
        listening.stop(self._server)
        if self._probes:
            self._probes.stop()
        if self._metrics_server:
            self._metrics_server.close()
        self._watchdog.close()
        for pool in (self._pools.unary, self._pools.streams, self._pools.open):
            pool.close()
        self._health.close()
        self._workers.close()
        self._registry.close()

    def run(self, events: "Events", announce: Callable[[int, ModelInfo], None]) -> None:
        """Serve until told to stop.

        Args:
            events: tell it to look at the store, and to stop.
            announce: called once, with the port and the default model, when requests are answered.

        Raises:
            ModelError, OperatorError: if it cannot serve, or an engine makes no progress any more.
        """
        self.start()
        try:
            announce(self.port, self.load().info)
            for retry in events.looks(self._settings.watch_s):
                self.refresh(retry=retry)
            events.end_within(_END_S if self.fault else most_stop_s(self._settings))
        finally:
            self.stop()
        if self.fault:
            raise EngineStalledError(self.fault)

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


def _pools(settings: Settings, share_of: ShareOf) -> Pools:
    unary, streams, opened = (
        Handlers(size, aside, threads.WAITING, Patience(patience_s), share_of, ahead)
        for size, aside, patience_s, ahead in (
            (threads.handlers(), threads.ASIDE, settings.patience_s, threads.handlers()),
            (threads.STREAMS, 0, settings.patience_s, 0),
            (threads.OPEN, threads.OPEN_ASIDE, listening.open_patience_s(settings), 0),
        )
    )
    return Pools(unary, streams, opened)


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
