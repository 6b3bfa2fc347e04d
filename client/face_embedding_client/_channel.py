"""How a client reaches its servers: what its channels and its calls are made with."""

import json
import re
import ssl
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import _address, _errors, _messages, _proxies
from face_embedding_client._errors import FaceEmbeddingError
from face_embedding_client._types import Tls

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_RETRIES = 3
# A server that is started anew compiles its models, and may measure their precisions.
DEFAULT_OUTAGE_S = 60.0
# A server that says nothing for so long while a call waits is pinged, and given up if it does not
# answer: it, or what is between, may have gone without a word.
_KEEPALIVE_S = 30
_KEEPALIVE_TIMEOUT_S = 10
# How soon a lost server is looked for again, and how seldom at last. gRPC's own, a second and two
# minutes, would leave one that is back without calls, and its callers without any if another stops.
_RECONNECT_FIRST_S, _RECONNECT_LAST_S = 0.1, 5
_MS = 1000

_SERVICE = pb.DESCRIPTOR.services_by_name["FaceEmbeddingService"].full_name
_TOKEN = re.compile(r"[!-~]+")
# What gRPC says of a connection that fails, and what to do about it.
_OTHER_NAME = "the server's certificate is for another name: give that as the server name"
_HINTS = {
    "Method not found!": "the server does not have this method: it is another one, or of an "
    "earlier version",
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is not trusted: check its dates, and "
    "the CA that is given for it",
    "Hostname Verification Check failed": _OTHER_NAME,
    "is not in peer certificate": _OTHER_NAME,  # In gRPC 1.74.
    "WRONG_VERSION_NUMBER": "the server does not speak TLS there",
    "Failed to create security handshaker": "the CA, the certificate or the key cannot be used: "
    "they have to be PEM, unencrypted, and certificate and key a pair",
}
_CLOSED = "last error: UNAVAILABLE"
_CLOSED_WITH_TLS = "the server may ask for a client certificate that it trusts"
_CLOSED_WITHOUT_TLS = "the server may speak TLS only"
# How a server fails that a proxy does not reach.
_UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class Connection:
    """What the channels and the calls of one client are made with.

    Args:
        address: the target, `HOST:PORT` or a gRPC name such as `dns:///HOST:PORT` or
            `ipv4:HOST:PORT,HOST:PORT`.
        tls: how to prove the server, and oneself to it; None speaks plaintext.
        token: sent with every call; empty sends none.
        allow_plaintext_token: send the token without TLS as well.
        round_robin: spread calls over all addresses of the name whose health is SERVING.
        repeating: let gRPC repeat what never left. Anything else it does not repeat.

    Raises:
        ValueError: if these do not go together, or the address is none.
    """

    address: str
    tls: Tls | None = None
    token: str = ""
    allow_plaintext_token: bool = False
    round_robin: bool = False
    repeating: bool = True

    def __post_init__(self) -> None:
        _address.check(self.address)
        if not self.token:
            return
        if not _TOKEN.fullmatch(self.token):
            raise ValueError("the token has characters other than visible ASCII")
        if self.tls is None and not self.allow_plaintext_token:
            raise ValueError(
                "without TLS a token can be read on its way: use TLS, or allow a plaintext token "
                "where the network is trusted"
            )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries beside its request."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self, *, balanced: bool) -> grpc.Channel:
        """Return a channel for threads; `balanced` is the one that `round_robin` is about."""
        options = self._options(balanced)
        if self.tls is None:
            return grpc.insecure_channel(self.address, options)
        return grpc.secure_channel(self.address, _credentials(self.tls), options)

    def aio_channel(self, *, balanced: bool) -> grpc.aio.Channel:
        """Return a channel for asyncio; see `channel`."""
        options = self._options(balanced)
        if self.tls is None:
            return grpc.aio.insecure_channel(self.address, options)
        return grpc.aio.secure_channel(self.address, _credentials(self.tls), options)

    def error(self, error: grpc.RpcError) -> FaceEmbeddingError:
        """Return the error that a failed call stands for."""
        return _errors.from_rpc_error(error, self.address, self._hint)

    def _hint(self, code: grpc.StatusCode, details: str) -> str:
        """Return what to do about what gRPC says of a failed call, if that is known."""
        for words, hint in _HINTS.items():
            if words in details:
                return hint
        # A server closes a connection at once that is not of its kind, and gives no reason.
        if _CLOSED in details and "Socket closed" in details:
            return _CLOSED_WITHOUT_TLS if self.tls is None else _CLOSED_WITH_TLS
        if code in _UNREACHED and not _proxies.is_local(self.address):
            return _proxies.hint()
        return ""

    def _options(self, balanced: bool) -> list[tuple[str, Any]]:
        limit = _messages.MAX_MESSAGE_BYTES
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
            # gRPC repeats a call that never left if it could hold its requests back: by default
            # only 256 KiB, less than most photographs have.
            ("grpc.per_rpc_retry_buffer_size", limit),
            ("grpc.enable_retries", int(self.repeating)),
            ("grpc.enable_http_proxy", int(not _proxies.is_local(self.address))),
            # Or all channels to an address would share one connection.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", _KEEPALIVE_S * _MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_S * _MS),
            # The one before alone leaves the time that a ping has to be answered in at a minute.
            ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_S * _MS),
            # Without a limit; by default the third ping waits for a minute.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", int(_RECONNECT_FIRST_S * _MS)),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT_LAST_S * _MS),
            ("grpc.service_config", json.dumps(self._service_config(balanced))),
        ]
        if self.tls and self.tls.server_name:
            # TLS expects this name of the certificate, and asks for it.
            options.append(("grpc.default_authority", self.tls.server_name))
        return options

    def _service_config(self, balanced: bool) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if balanced and self.round_robin:
            config["loadBalancingConfig"] = [{"round_robin": {}}]
            config["healthCheckConfig"] = {"serviceName": _SERVICE}
        return config


def unary_methods(
    stub: pb_grpc.FaceEmbeddingServiceStub,
    channel: grpc.Channel | grpc.aio.Channel,
    any_channel: grpc.Channel | grpc.aio.Channel,
) -> dict[str, Any]:
    """Return the unary methods by the names that operations call them by."""
    check, check_any = (_check(each) for each in (channel, any_channel))
    return {
        "Embed": stub.Embed,
        "Compare": stub.Compare,
        "Detect": stub.Detect,
        "GetModelInfo": stub.GetModelInfo,
        "ListModels": stub.ListModels,
        "Check": check,
        "CheckAny": check_any,
    }


def _check(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # Not in its types.


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    roots = _system_roots() if tls.ca is None else tls.ca
    return grpc.ssl_channel_credentials(roots, tls.key, tls.certificate)


def _system_roots() -> bytes | None:
    """Return the CAs that this system trusts as PEM; None, for gRPC's own list, if it has none.

    gRPC itself would take the list in its package, which knows nothing of an operator's own CA.
    """
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode() or None
