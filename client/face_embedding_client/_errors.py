"""What can go wrong for a caller.

FaceEmbeddingError
├── InvalidRequestError        the request, or one face of it, is refused
├── UnknownModelError          the server does not serve the named model
├── NotPermittedError          the server does not know the caller, or the caller may not do this
├── ServerUnavailableError     no server there, or it is loading or stopping: try again
│   ├── OverloadedError        it has more to do than it can answer in time
│   ├── ConnectionLostError    the connection was lost before the answer
│   └── IncompleteStreamError  a stream ended without an answer to everything
├── SuspectRequestError        the connection was lost twice before the answer to the same request
├── DeadlineExceededError      no answer in time
└── ServerError                the server failed
"""

import contextlib
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

# The name that gRPC gives to a google.rpc.Status among the trailers of a call.
_STATUS_DETAILS_KEY = "grpc-status-details-bin"
# The name that the server gives to a call in its trailers and in its log.
_REQUEST_ID_KEY = "x-request-id"
# How long a server asks a caller to wait, in milliseconds; what is no number forbids to try again.
_PUSHBACK_KEY = "grpc-retry-pushback-ms"
_MS = 1000
# Of a 32-bit number, which gRPC takes.
_MOST_DIGITS = 10
# How the words of gRPC and of Envoy begin about a call that never left, since no connection or no
# address was there for it; of some there are two, as versions differ. With whatever else the
# request may have been on its way.
_NEVER_SENT = re.compile(
    "failed to connect to all addresses|connections to all backends failing|errors resolving "
    "|DNS resolution failed|empty address list|no healthy upstream"
    r"|upstream connect error or disconnect/reset before headers\. (retried and the latest )?"
    r"reset reason: ((local |remote )?connection failure|overflow)"
)
# A client cancels no call whose answer is awaited: then it was the server, or what is between.
_LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
# What gRPC's asyncio says instead of how a stream ended, where it was just sending.
_NOT_TOLD = "Internal error from Core"


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
        retry_after_s: seconds that the server asks to wait before the request is sent again; 0 if
            it does not ask, infinite if it forbids it.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        field: str,
        code: grpc.StatusCode,
        request_id: str = "",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class InvalidRequestError(FaceEmbeddingError):
    """The request, or one face of it, is refused; sending it again will not help."""


class UnknownModelError(FaceEmbeddingError):
    """The server does not serve the named model."""


class NotPermittedError(FaceEmbeddingError):
    """The server does not know the caller, or the caller may not do this; ask its operator."""


class ServerUnavailableError(FaceEmbeddingError):
    """There is no server at the address, or it is loading or stopping; try again later."""


class OverloadedError(ServerUnavailableError):
    """The server has more to do than it can answer in time, and did nothing; try again later."""


class ConnectionLostError(ServerUnavailableError):
    """The connection was lost while the server may have been at work on the request."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lost_at = time.monotonic()


class IncompleteStreamError(ServerUnavailableError):
    """A stream ended well, and faces that were sent have no answer; send those again."""


class SuspectRequestError(FaceEmbeddingError):
    """The connection was lost twice before the answer, the second time with this request alone.

    The request may be what ends the server: it is not sent again, and better not be.
    """


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
    # Without this reason the code says that a message is too large.
    "OVERLOADED": OverloadedError,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def at_face(error: FaceEmbeddingError, index: int) -> FaceEmbeddingError:
    """Return the error of a face of one request with the face's index among all of the caller's."""
    return _renamed(error, lambda text: re.sub(r"faces\[\d+\]", f"faces[{index}]", text, count=1))


def of_only_face(error: FaceEmbeddingError) -> FaceEmbeddingError:
    """Return the error of the only face of a request for a caller who gave no list of faces."""
    return _renamed(error, lambda text: text.removeprefix("faces[0]."))


def of_item(error: FaceEmbeddingError) -> FaceEmbeddingError:
    """Return the error of the only face of a request for a caller who gave it to a stream."""
    return _renamed(error, lambda text: text.replace("faces[0]", "face", 1))


def of_side(error: FaceEmbeddingError, side: str) -> FaceEmbeddingError:
    """Return the error of the only face of a request for a caller who gave it to be compared."""
    if not error.field or error.field.startswith("faces[0]"):
        return _renamed(error, lambda text: text.replace("faces[0]", f"{side}.face", 1))
    # It was not sent, and knows of no request.
    field = f"{side}.face.{error.field}"
    return _renamed(error, lambda text: field if text == error.field else f"{field}: {text}")


def _renamed(error: FaceEmbeddingError, rename: Callable[[str], str]) -> FaceEmbeddingError:
    field, message = rename(error.field), rename(error.message)
    code, request_id, again_s = error.code, error.request_id, error.retry_after_s
    return type(error)(message, error.reason, field, code, request_id, again_s)


def suspect(error: FaceEmbeddingError, field: str, what: str) -> SuspectRequestError:
    """Return the error of a request that met a lost connection twice.

    Args:
        error: the second time.
        field: the path of the request's field to blame, or empty.
        what: the request in words.
    """
    return SuspectRequestError(
        f"{what}: the connection was lost twice before its answer ({error.message}); it may be "
        f"what ends the server, so it is not sent again",
        "",
        field,
        error.code,
    )


def from_status(status: status_pb2.Status, request_id: str = "") -> FaceEmbeddingError:
    """Return the error that a status stands for."""
    info, again = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        # What another version or a proxy adds is of another kind, or none at all.
        with contextlib.suppress(DecodeError):
            detail.Unpack(info)
            detail.Unpack(again)
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    kind = _BY_REASON.get(info.reason) or _kind(code, info.reason, status.message)
    again_s = again.retry_delay.ToMilliseconds() / _MS
    field = info.metadata.get("field", "")
    return kind(status.message, info.reason, field, code, request_id, again_s)


def from_rpc_error(
    error: grpc.RpcError, address: str, hint: Callable[[grpc.StatusCode, str], str]
) -> FaceEmbeddingError:
    """Return the error that a failed call stands for.

    Args:
        error: what gRPC raised.
        address: where the call went.
        hint: returns what to do about a code and what gRPC says, or nothing.
    """
    # Every failed call is both an error and the call itself.
    call: grpc.Call = error  # type: ignore[assignment]
    # One by one: the metadata of asyncio's calls is half a mapping.
    trailers = {key: value for key, value in call.trailing_metadata() or ()}  # noqa: C416
    request_id, status = trailers.get(_REQUEST_ID_KEY), trailers.get(_STATUS_DETAILS_KEY)
    request_id = request_id if isinstance(request_id, str) else ""
    pushback_s = _pushback_s(trailers)
    if isinstance(status, bytes) and (told := _parsed(status)) is not None:
        made = from_status(told, request_id)
        made.retry_after_s = max(made.retry_after_s, pushback_s)
        return made
    code = call.code()
    details = call.details() or code.name
    advice = hint(code, details)
    message = f"{address}: {advice} ({details})" if advice else f"{address}: {details}"
    return _kind(code, "", details)(message, "", "", code, request_id, pushback_s)


def _parsed(status: bytes) -> status_pb2.Status | None:
    """Return the status among the trailers; None if it is none."""
    try:
        return status_pb2.Status.FromString(status)
    except DecodeError:
        return None


def _kind(code: grpc.StatusCode, reason: str, details: str) -> type[FaceEmbeddingError]:
    """Return the class of an error; what ends a call without a reason is a lost connection."""
    explained = reason or _NEVER_SENT.match(details)
    unexplained = code in _LOST and not explained
    if unexplained or (code is grpc.StatusCode.INTERNAL and details == _NOT_TOLD):
        return ConnectionLostError
    return _BY_CODE.get(code, ServerError)


def _pushback_s(trailers: Mapping[str, str | bytes]) -> float:
    text = trailers.get(_PUSHBACK_KEY)
    if text is None:
        return 0.0
    number = isinstance(text, str) and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) / _MS if number else math.inf
