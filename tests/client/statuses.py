"""How a server says why it refuses a call."""

import grpc
from google.rpc import error_details_pb2, status_pb2


def status_of(code: grpc.StatusCode, reason: str, again_s: float = 0) -> status_pb2.Status:
    """A refusal as a status, with when to try again."""
    status = status_pb2.Status(code=code.value[0], message="no")
    info = error_details_pb2.ErrorInfo(reason=reason, domain="face-embedding")
    status.details.add().Pack(info)
    if again_s:
        again = error_details_pb2.RetryInfo()
        again.retry_delay.FromMilliseconds(round(1000 * again_s))
        status.details.add().Pack(again)
    return status


def status_trailer(code: grpc.StatusCode, reason: str, again_s: float = 0) -> tuple[str, bytes]:
    """The trailer that holds the status of a refused call."""
    return "grpc-status-details-bin", status_of(code, reason, again_s).SerializeToString()
