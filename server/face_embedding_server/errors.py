"""Why a request is refused, and the status that says so.

Inside the server a refusal is an exception with a reason; it becomes a gRPC status only here.
"""

import grpc
from google.rpc import error_details_pb2, status_pb2

from face_embedding.v1 import face_embedding_pb2 as pb

DOMAIN = "face-embedding"
# The name that gRPC gives to a google.rpc.Status among the trailers of a call.
STATUS_DETAILS_KEY = "grpc-status-details-bin"

_PREFIX = "ERROR_REASON_"
# A status travels in the trailers of a call, which gRPC limits to 8 KiB, and twice.
_MAX_MESSAGE_CHARACTERS = 500
_CODES = {
    pb.ERROR_REASON_MODEL_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    pb.ERROR_REASON_MODEL_LOADING: grpc.StatusCode.UNAVAILABLE,
    pb.ERROR_REASON_STOPPING: grpc.StatusCode.UNAVAILABLE,
    pb.ERROR_REASON_NO_DETECTOR: grpc.StatusCode.FAILED_PRECONDITION,
    pb.ERROR_REASON_OPERATING_POINT_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    pb.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    pb.ERROR_REASON_CREDENTIALS_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    pb.ERROR_REASON_CREDENTIALS_UNKNOWN: grpc.StatusCode.UNAUTHENTICATED,
    pb.ERROR_REASON_CREDENTIALS_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
    pb.ERROR_REASON_PERMISSION: grpc.StatusCode.PERMISSION_DENIED,
    pb.ERROR_REASON_MODEL_VERSION: grpc.StatusCode.NOT_FOUND,
    pb.ERROR_REASON_ABANDONED: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class OperatorError(Exception):
    """A command cannot do what it was told; the message says why and what to do.

    Base of every such error but those about model files, which are `ModelError`.
    """


class Refusal(Exception):
    """A request, or one face of it, is refused.

    Args:
        reason: the `ErrorReason`; it decides the status code.
        message: what was wrong and what to do, for the caller.
        field: the path of the field to blame, such as `encoded`; callers prepend where it is.
    """

    def __init__(self, reason: pb.ErrorReason, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field

    def within(self, prefix: str) -> "Refusal":
        """Return the same refusal with a longer path."""
        return Refusal(self.reason, self.message, ".".join(filter(None, (prefix, self.field))))


def internal_error() -> Refusal:
    """Return the refusal that stands for a fault of the server; the log has the fault itself."""
    return Refusal(pb.ERROR_REASON_INTERNAL, "the server failed to answer; its log has the details")


def code_of(refusal: Refusal) -> grpc.StatusCode:
    """Return the gRPC status code of a refusal."""
    return _CODES.get(refusal.reason, grpc.StatusCode.INVALID_ARGUMENT)


def reason_name(reason: pb.ErrorReason) -> str:
    """Return the name of a reason without the prefix that all share."""
    return without_prefix(pb.ErrorReason.Name(reason))


def without_prefix(name: str) -> str:
    """Return the name of a reason in the contract without the prefix that all share."""
    return name.removeprefix(_PREFIX)


def status_of(refusal: Refusal) -> status_pb2.Status:
    """Return a refusal as a status with an `ErrorInfo`."""
    info = error_details_pb2.ErrorInfo(reason=reason_name(refusal.reason), domain=DOMAIN)
    message = refusal.message
    if refusal.field:
        info.metadata["field"] = refusal.field
        message = f"{refusal.field}: {message}"
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = f"{message[: _MAX_MESSAGE_CHARACTERS - 1]}…"
    status = status_pb2.Status(code=code_of(refusal).value[0], message=message)
    status.details.add().Pack(info)
    return status
