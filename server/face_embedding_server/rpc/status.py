"""How a caller is told that a request, or one face of it, is refused: by a google.rpc.Status."""

import functools
import logging
import math
from typing import NoReturn, TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2

from face_embedding_server import context
from face_embedding_server.errors import Reason, Refusal

DOMAIN = "face-embedding"
# The name that gRPC gives to a google.rpc.Status among the trailers of a call.
STATUS_DETAILS_KEY = "grpc-status-details-bin"
# And to when a client that repeats calls by itself is to do so; gRPC's own proposal A6.
_PUSHBACK_KEY = "grpc-retry-pushback-ms"
_MS = 1000
# What is told of when to come again is a guess anyway.
_AGAIN_STEP_S = 0.05

# A status travels in the trailers of a call, which gRPC limits to 8 KiB, and twice.
_MAX_MESSAGE_CHARACTERS = 500
_Trailers: TypeAlias = tuple[tuple[str, str | bytes], ...]
_CODES = {
    Reason.MODEL_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.MODEL_LOADING: grpc.StatusCode.UNAVAILABLE,
    Reason.STOPPING: grpc.StatusCode.UNAVAILABLE,
    Reason.NO_DETECTOR: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OPERATING_POINT_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.CREDENTIALS_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIALS_UNKNOWN: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIALS_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION: grpc.StatusCode.PERMISSION_DENIED,
    Reason.MODEL_VERSION: grpc.StatusCode.NOT_FOUND,
    Reason.ABANDONED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.CALLER_SILENT: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_log = logging.getLogger(__name__)


def code_of(refusal: Refusal) -> grpc.StatusCode:
    """Return the gRPC status code of a refusal."""
    return _CODES.get(refusal.reason, grpc.StatusCode.INVALID_ARGUMENT)


def status_of(refusal: Refusal) -> status_pb2.Status:
    """Return a refusal as a status with an `ErrorInfo`."""
    info = error_details_pb2.ErrorInfo(reason=refusal.reason.name, domain=DOMAIN)
    message = refusal.message
    if refusal.field:
        info.metadata["field"] = refusal.field
        message = f"{refusal.field}: {message}"
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = f"{message[: _MAX_MESSAGE_CHARACTERS - 1]}…"
    status = status_pb2.Status(code=code_of(refusal).value[0], message=message)
    status.details.add().Pack(info)
    if refusal.again_s:
        again = error_details_pb2.RetryInfo()
        again.retry_delay.FromMilliseconds(round(_MS * refusal.again_s))
        status.details.add().Pack(again)
    return status


def report(error: Exception) -> Refusal:
    """Count an error, log it if it is a fault of the server, and return what the caller is told."""
    refusal = error if isinstance(error, Refusal) else _internal_error()
    if refusal is not error:
        _log.error("a request failed", exc_info=error)
    context.rejected(refusal)
    return refusal


def abort(call: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    """End a call with a refusal as its status."""
    status = status_of(refusal)
    _end(call, code_of(refusal), status.message, _trailers(status, refusal.again_s))


def turn_away(call: grpc.ServicerContext, again_s: float) -> NoReturn:
    """End a call with OVERLOADED, at the least cost: when that is done it is done often."""
    trailers, message = _overloaded(math.ceil(again_s / _AGAIN_STEP_S))
    _end(call, _CODES[Reason.OVERLOADED], message, trailers)


@functools.cache
def _overloaded(again_steps: int) -> tuple[_Trailers, str]:
    again_s = _AGAIN_STEP_S * again_steps
    status = status_of(overloaded(again_s))
    return _trailers(status, again_s), status.message


def overloaded(again_s: float) -> Refusal:
    """Return the refusal of a server that has more to answer than it can in time."""
    return Refusal(
        Reason.OVERLOADED,
        "there are more calls than can be answered in time; nothing was done with this one, try it "
        "again later",
        again_s=again_s,
    )


def _end(
    call: grpc.ServicerContext, code: grpc.StatusCode, message: str, trailers: _Trailers
) -> NoReturn:
    call.set_trailing_metadata((*(call.trailing_metadata() or ()), *trailers))
    call.abort(code, message)


def _trailers(status: status_pb2.Status, again_s: float) -> _Trailers:
    details = (STATUS_DETAILS_KEY, status.SerializeToString())
    if not again_s:
        return (details,)
    return (details, (_PUSHBACK_KEY, str(round(_MS * again_s))))


def _internal_error() -> Refusal:
    return Refusal(Reason.INTERNAL, "the server failed to answer; its log has the details")
