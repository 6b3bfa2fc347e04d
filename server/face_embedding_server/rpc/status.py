"""How a caller is told that a request, or one face of it, is refused: by a google.rpc.Status."""

import logging
from typing import NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

from face_embedding_server import context
from face_embedding_server.errors import Reason, Refusal

DOMAIN = "face-embedding"
# The name that gRPC gives to a google.rpc.Status among the trailers of a call.
STATUS_DETAILS_KEY = "grpc-status-details-bin"

# A status travels in the trailers of a call, which gRPC limits to 8 KiB, and twice.
_MAX_MESSAGE_CHARACTERS = 500
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
    details = (STATUS_DETAILS_KEY, status.SerializeToString())
    call.set_trailing_metadata((*(call.trailing_metadata() or ()), details))
    call.abort(code_of(refusal), status.message)


def _internal_error() -> Refusal:
    return Refusal(Reason.INTERNAL, "the server failed to answer; its log has the details")
