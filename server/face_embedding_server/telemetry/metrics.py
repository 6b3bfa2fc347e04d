"""The metrics of a server, for Prometheus.

Each server has a registry of its own, so that several in one process do not mix.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)

from face_embedding_server.context import STAGES
from face_embedding_server.errors import OperatorError, Reason
from face_embedding_server.telemetry.http import HttpServer

# What a call is answered with.
CallKind: TypeAlias = Literal["unary", "stream"]

_PREFIX = "face_embedding"
# Seconds. The fastest model answers in 1.5 ms; a call of 64 faces of the slowest takes seconds.
_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *_CALL_BUCKETS[:-1])
# Raw embeddings of faces have norms of 5 to 30, depending on the model.
_NORM_BUCKETS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 40)


class MetricsError(OperatorError):
    """The metrics cannot be served; the message says why."""


class ServedFacts(Protocol):
    """What the metrics tell of a served model; see `ModelInfo`."""

    @property
    def name(self) -> str:
        """The model's."""

    @property
    def model_version(self) -> str:
        """Of its weights."""

    @property
    def backend(self) -> str:
        """What runs it."""

    @property
    def precision(self) -> str:
        """The precision in effect."""


class Metrics:
    """The metrics of one server; a `Sink` of what happens in its calls."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = self._counter("requests", "Calls that ended", "method", "code")
        self._durations = self._histogram(
            "request_duration_seconds",
            "Time from when a thread takes a call to its end",
            "method",
            _CALL_BUCKETS,
        )
        stages = self._histogram(
            "stage_duration_seconds",
            "Time that a face spends in each stage",
            "stage",
            _STAGE_BUCKETS,
        )
        self._stages = {name: stages.labels(name) for name in STAGES}
        in_flight = Gauge(
            f"{_PREFIX}_in_flight_requests",
            "Calls being answered, with one answer or with a stream",
            ("kind",),
            registry=self.registry,
        )
        self._in_flight = {kind: in_flight.labels(kind) for kind in get_args(CallKind)}
        self._queue_depth = Gauge(
            f"{_PREFIX}_queue_depth",
            "Faces waiting for a thread or for their turn",
            registry=self.registry,
        )
        self._rejected = self._counter("rejected", "Requests and faces that were refused", "reason")
        # A counter that begins at its first event would hide that event from `increase`.
        for reason in Reason:
            self._rejected.labels(reason.name)
        self._embedded = self._counter("faces_embedded", "Faces that were embedded", "model")
        self._norms = self._histogram(
            "embedding_norm", "L2 norm of raw embeddings", "model", _NORM_BUCKETS
        )
        # Found once: that takes longer than to count.
        self._of_model = functools.cache(
            lambda model: (self._embedded.labels(model), self._norms.labels(model))
        )
        self._models = Gauge(
            f"{_PREFIX}_model_info",
            "The served models; always 1",
            ("model", "version", "backend", "precision", "origin"),
            registry=self.registry,
        )
        self._loads = self._counter("model_loads", "Models that were loaded", "model", "outcome")
        self._certificate_expiry = Gauge(
            f"{_PREFIX}_certificate_expiry_timestamp_seconds",
            "When the server's certificate expires, in seconds since 1970; 0 without one",
            registry=self.registry,
        )

    def calls(self, kind: CallKind, method: str) -> "CallMetrics":
        """Return what counts the calls of a method."""
        return CallMetrics(
            self._in_flight[kind],
            functools.cache(functools.partial(self._requests.labels, method)),
            self._durations.labels(method),
            self._rejected.labels(Reason.OVERLOADED.name),
        )

    def call_unknown(self) -> None:
        """Count a call of a method that the server does not have."""
        self._requests.labels("unknown", "UNIMPLEMENTED").inc()

    def stage_took(self, stage: str, seconds: float) -> None:
        """Take the duration of a stage; see `Sink`."""
        self._stages[stage].observe(seconds)

    def queue_changed(self, by: int) -> None:
        """Take a change of the queue's depth; see `Sink`."""
        self._queue_depth.inc(by)

    def rejected(self, reason: str) -> None:
        """Count a refusal; see `Sink`."""
        self._rejected.labels(reason).inc()

    def embedded(self, model: str, norm: float) -> None:
        """Count an embedded face; see `Sink`."""
        count, norms = self._of_model(model)
        count.inc()
        norms.observe(norm)

    def model_loaded(self, facts: ServedFacts, origin: str) -> None:
        """Show a model as served, in place of another version of it."""
        self._models.remove_by_labels({"model": facts.name})
        self._models.labels(
            facts.name, facts.model_version, facts.backend, facts.precision, origin
        ).set(1)
        self._loads.labels(facts.name, "loaded").inc()
        self._loads.labels(facts.name, "refused")

    def model_refused(self, name: str) -> None:
        """Count a model that could not be loaded."""
        self._loads.labels(name, "refused").inc()

    def certificate_read(self, expires_s: float) -> None:
        """Show when the server's certificate expires, in seconds since 1970."""
        self._certificate_expiry.set(expires_s)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, label: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(
            f"{_PREFIX}_{name}", what, (label,), buckets=buckets, registry=self.registry
        )


@dataclass(frozen=True)
class CallMetrics:
    """The metrics of the calls of one method, with their labels found once."""

    _in_flight: Gauge
    _requests: Callable[[str], Counter]
    _durations: Histogram
    _refused: Counter

    def began(self) -> None:
        """Count a call as being answered."""
        self._in_flight.inc()

    def ended(self, code: str, seconds: float) -> None:
        """Count a call as ended."""
        self._in_flight.dec()
        self._requests(code).inc()
        self._durations.observe(seconds)

    def refused(self) -> None:
        """Count a call that was refused before it got a thread."""
        self._requests("RESOURCE_EXHAUSTED").inc()
        self._refused.inc()


class MetricsServer:
    """Serves metrics over HTTP, at `/metrics`."""

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = HttpServer(host.strip("[]"), int(port), make_wsgi_app(registry))
        except OSError as error:
            raise MetricsError(f"metrics cannot be served on {address}: {error}") from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
