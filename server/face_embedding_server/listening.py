"""The ports that a server listens on, and how gRPC is to treat who connects."""

from concurrent.futures import ThreadPoolExecutor

import grpc

from face_embedding_server.inference import threads
from face_embedding_server.rpc import health
from face_embedding_server.rpc.health import Health
from face_embedding_server.settings import Settings, SettingsError

# A probe is one short call on a connection of its own; who opens calls and leaves them is cut off.
_PROBE_OPTIONS = {
    "grpc.max_receive_message_length": health.MOST_BYTES,
    "grpc.max_concurrent_streams": 4,
    "grpc.max_connection_age_ms": 30_000,
    "grpc.max_connection_age_grace_ms": 1_000,
}
_LAST_GRACE_S = 0.2
# By then a call that gRPC does not let go of is left behind.
_LAST_WAIT_S = 0.4
_MS = 1000
# Calls that gRPC has and nobody has looked at; bounded by the calls of each connection as well.
_MOST_PENDING = 100_000
# What a connection takes of each call before anybody asks for it, and what of a stream is on its
# way at a time: over 50 ms 340 faces of 27 KB a second, and a fifth of that with gRPC's own 64 KB.
_UNREAD_BYTES = 1 << 19
_NO_COMPRESSION = 1 << int(grpc.Compression.NoCompression)
# A client may ping that often even while it has no call.
_MIN_CLIENT_PING_S = 10


def options(settings: Settings, *, shares_port: bool = False) -> list[tuple[str, int]]:
    """Return gRPC's options of a server.

    Args:
        settings: the server's.
        shares_port: whether other processes listen on its port as well.
    """
    chosen = {
        "grpc.max_receive_message_length": settings.max_message_bytes,
        "grpc.max_send_message_length": settings.max_message_bytes,
        # A message that unfolds to a thousand times its size is refused before it does.
        "grpc.compression_enabled_algorithms_bitset": _NO_COMPRESSION,
        # A client keeps back what is more; whatever else is in its way here would cost more.
        "grpc.max_concurrent_streams": settings.max_calls_per_connection,
        # gRPC's own 1000 ends calls without a reason; here each is refused with one.
        "grpc.server.max_pending_requests": _MOST_PENDING,
        "grpc.server.max_pending_requests_hard_limit": _MOST_PENDING,
        # Or gRPC takes of a call what the connection can carry, tens of megabytes, before anybody
        # asks for it. A message that is asked for has a window of 1 MB all the same.
        "grpc.http2.bdp_probe": 0,
        "grpc.http2.lookahead_bytes": _UNREAD_BYTES,
        # A second server on one port, but for one that was begun with it, is a mistake to be told.
        "grpc.so_reuseport": int(shares_port),
        "grpc.keepalive_time_ms": int(settings.keepalive_s * _MS),
        "grpc.keepalive_timeout_ms": int(settings.keepalive_timeout_s * _MS),
        # The one before alone leaves the time that a ping has to be answered in at a minute.
        "grpc.http2.ping_timeout_ms": int(settings.keepalive_timeout_s * _MS),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": _MIN_CLIENT_PING_S * _MS,
    }
    if settings.max_connection_age_s:
        chosen |= {
            "grpc.max_connection_age_ms": int(settings.max_connection_age_s * _MS),
            "grpc.max_connection_age_grace_ms": int(settings.max_connection_age_grace_s * _MS),
        }
    return [*chosen.items()]


def open_patience_s(settings: Settings) -> float:
    """Return how long who needs no permission is waited for."""
    return min(threads.OPEN_PATIENCE_S, settings.patience_s)


def bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Have a server listen on an address, and return the port.

    Raises:
        SettingsError: if it cannot.
    """
    try:
        if credentials:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise not_to_be_had(address, error) from error


def not_to_be_had(address: str, error: Exception) -> SettingsError:
    """Return the error of an address that cannot be listened on."""
    return SettingsError(
        f"cannot listen on {address}: another server is there, or the host is not of this machine "
        f"({error})"
    )


class Probes:
    """A port that answers health checks alone, without TLS.

    Args:
        settings: of the server that they are of.
        address: HOST:PORT; port 0 takes a free one.
        health: what they are told.

    Raises:
        SettingsError: if it cannot be listened on.
    """

    def __init__(self, settings: Settings, address: str, health: Health) -> None:
        chosen = dict(options(settings)) | _PROBE_OPTIONS
        # Health has threads of its own.
        self._server = grpc.server(ThreadPoolExecutor(1), options=[*chosen.items()])
        self._server.add_generic_rpc_handlers((health.handler(),))
        self.port = bind(self._server, address, None)

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening."""
        stop(self._server)


def stop(server: grpc.Server) -> None:
    """End a server that has nothing to finish: refusals, and callers who watch for ever."""
    server.stop(_LAST_GRACE_S).wait(_LAST_WAIT_S)
