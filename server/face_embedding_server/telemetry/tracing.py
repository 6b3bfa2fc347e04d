"""Traces of calls, by OpenTelemetry: a span a call, and one for each stage in it.

Where spans go is said by OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
"""

import importlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from face_embedding_server.errors import OperatorError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

_SERVICE = "face-embedding"
_SYSTEM = "grpc"
_LAST_SPANS_S = 3
_NS = 1e9
# What OpenTelemetry's conventions take for errors of a server of gRPC; others are the caller's.
_ERRORS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class TracingError(OperatorError):
    """Calls cannot be traced; the message says why."""


class CallTracer:
    """Makes the spans of calls and of their stages.

    Args:
        provider: OpenTelemetry's provider; it decides where spans go.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        self._api: Any = _import("opentelemetry.trace")
        self._propagate: Any = _import("opentelemetry.propagate")
        self._tracer = provider.get_tracer(_SERVICE)

    def call(
        self, method: str, request_id: str, metadata: Iterable[tuple[str, str | bytes]]
    ) -> AbstractContextManager["Span"]:
        """Return the span of a call, a child of the caller's if they sent theirs."""
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        service, _, name = method.partition("/")
        return self._span(
            method,
            context=self._propagate.extract(carrier),
            kind=self._api.SpanKind.SERVER,
            attributes={
                "rpc.system": _SYSTEM,
                "rpc.service": service,
                "rpc.method": name,
                "request.id": request_id,
            },
        )

    def stage(self, name: str) -> AbstractContextManager["Span"]:
        """Return the span of a stage; see `Tracer`."""
        return self._span(name)

    def stage_took(self, name: str, seconds: float) -> None:
        """Make the span of a stage that is over; see `Tracer`."""
        ended_ns = time.time_ns()
        began_ns = ended_ns - round(seconds * _NS)
        self._tracer.start_span(name, start_time=began_ns).end(ended_ns)

    def end(self, span: "Span", code: grpc.StatusCode) -> None:
        """Note the status of a call in its span."""
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in _ERRORS:
            span.set_status(self._api.StatusCode.ERROR)

    def _span(self, name: str, **facts: Any) -> AbstractContextManager["Span"]:
        # A refusal is an exception on its way through the server, and no exception of it.
        return self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False, **facts
        )


def exporting_provider() -> "TracerProvider":
    """Return a provider that sends spans where OpenTelemetry's variables say.

    Raises:
        TracingError: if OpenTelemetry is not installed.
    """
    sdk, export = _import("opentelemetry.sdk.trace"), _import("opentelemetry.sdk.trace.export")
    resources = _import("opentelemetry.sdk.resources")
    otlp = _import("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    named = resources.Resource.create({"service.name": _SERVICE})
    resource = named.merge(resources.OTELResourceDetector().detect())
    provider: TracerProvider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))  # type: ignore[attr-defined]  # The SDK's.
    return provider


@contextmanager
def exporting(wanted: bool) -> Iterator[CallTracer | None]:
    """Yield what traces calls, as `exporting_provider` says; None where nobody wants that."""
    if not wanted:
        yield None
        return
    provider = exporting_provider()
    try:
        yield CallTracer(provider)
    finally:
        _shut_down(provider)


def _shut_down(provider: "TracerProvider") -> None:
    """Send the last spans, if that can be done soon."""
    # In a thread that the process does not wait for: with no collector there it takes 15 s.
    sending = threading.Thread(target=provider.shutdown, daemon=True)  # type: ignore[attr-defined]  # The SDK's.
    sending.start()
    sending.join(_LAST_SPANS_S)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TracingError(
            f"OpenTelemetry cannot be imported ({error}); install it with "
            f"pip install 'face-embedding[server,otel]'"
        ) from error
