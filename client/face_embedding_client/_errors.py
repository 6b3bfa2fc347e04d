"""What can go wrong for a caller.

FaceEmbeddingError
├── InvalidRequestError        the request, or one face of it, is refused
├── UnknownModelError          the server does not serve the named model
├── NotPermittedError          the server does not know the caller, or the caller may not do this
├── ServerUnavailableError     no server there, or it is loading or stopping: try again
│   └── IncompleteStreamError  a stream ended without an answer to everything
├── DeadlineExceededError      no answer in time
└── ServerError                the server failed
"""

import re
from collections.abc import Callable

import grpc
from google.rpc import error_details_pb2, status_pb2

# The name that gRPC gives to a google.rpc.Status among the trailers of a call.
_STATUS_DETAILS_KEY = "grpc-status-details-bin"
# The name that the server gives to a call in its trailers and in its log.
_REQUEST_ID_KEY = "x-request-id"


class FaceEmbeddingError(Exception):
    """Base of every error of this package.

    Args:
        message: what was wrong and what to do.
        reason: the name of an `ErrorReason` without its prefix, such as `IMAGE_SIZE`; empty where
            the error did not come from the service itself.
        field: the path of the request's field to blame, or empty.
        code: the gRPC status code.
        request_id: what the server's operator finds the call by in its log; empty where the call
            did not reach a server, and for one face of several.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        field: str,
        code: grpc.StatusCode,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.code = code
        self.request_id = request_id


class InvalidRequestError(FaceEmbeddingError):
    """The request, or one face of it, is refused; sending it again will not help."""


class UnknownModelError(FaceEmbeddingError):
    """The server does not serve the named model."""


class NotPermittedError(FaceEmbeddingError):
    """The server does not know the caller, or the caller may not do this; ask its operator."""


class ServerUnavailableError(FaceEmbeddingError):
    """There is no server at the address, or it is loading or stopping; try again later."""


class IncompleteStreamError(ServerUnavailableError):
    """A stream ended well, and faces that were sent have no answer; send those again."""


class DeadlineExceededError(FaceEmbeddingError):
    """The server did not answer in time."""


class ServerError(FaceEmbeddingError):
    """The server failed to answer."""


_BY_CODE: dict[grpc.StatusCode, type[FaceEmbeddingError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: UnknownModelError,
    grpc.StatusCode.UNAUTHENTICATED: NotPermittedError,
    grpc.StatusCode.PERMISSION_DENIED: NotPermittedError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}
# Where the code alone would mislead: something else than the model is not found.
_BY_REASON: dict[str, type[FaceEmbeddingError]] = {
    "OPERATING_POINT_UNKNOWN": InvalidRequestError,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def at_face(error: FaceEmbeddingError, index: int) -> FaceEmbeddingError:
    """Return the error of a face of one request with the face's index among all of the caller's."""
    field, message = (
        re.sub(r"faces\[\d+\]", f"faces[{index}]", text, count=1)
        for text in (error.field, error.message)
    )
    return type(error)(message, error.reason, field, error.code, error.request_id)


def of_only_face(error: FaceEmbeddingError) -> FaceEmbeddingError:
    """Return the error of the only face of a request for a caller who gave no list of faces."""
    field, message = (text.removeprefix("faces[0].") for text in (error.field, error.message))
    return type(error)(message, error.reason, field, error.code, error.request_id)


def from_status(status: status_pb2.Status, request_id: str = "") -> FaceEmbeddingError:
    """Return the error that a status stands for."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        detail.Unpack(info)
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(code, ServerError)
    return kind(status.message, info.reason, info.metadata.get("field", ""), code, request_id)


def from_rpc_error(
    error: grpc.RpcError, address: str, hint: Callable[[str], str]
) -> FaceEmbeddingError:
    """Return the error that a failed call stands for.

    Args:
        error: what gRPC raised.
        address: where the call went.
        hint: returns what to do about what gRPC says, or nothing.
    """
    # Every failed call is both an error and the call itself.
    call: grpc.Call = error  # type: ignore[assignment]
    # One by one: the metadata of asyncio's calls is half a mapping.
    trailers = {key: value for key, value in call.trailing_metadata() or ()}  # noqa: C416
    request_id, status = trailers.get(_REQUEST_ID_KEY), trailers.get(_STATUS_DETAILS_KEY)
    request_id = request_id if isinstance(request_id, str) else ""
    if isinstance(status, bytes):
        return from_status(status_pb2.Status.FromString(status), request_id)
    code = call.code()
    details = call.details() or code.name
    advice = hint(details)
    message = f"{address}: {advice} ({details})" if advice else f"{address}: {details}"
    return _BY_CODE.get(code, ServerError)(message, "", "", code, request_id)
