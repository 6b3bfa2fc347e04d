"""A small HTTP server that nobody can fill: who stays silent gives way to who comes.

What it serves takes milliseconds, so that a connection that is still open when many others have
come after it is one that is not used.
"""

import contextlib
import socket
import threading
from collections import deque
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# A scraper or two, and somebody who looks.
MAX_CONNECTIONS = 32
# For each part of a request to come, and each part of an answer to be taken.
PATIENCE_S = 5


class HttpServer(ThreadingMixIn, WSGIServer):
    """Serves an application, each connection in a thread, of which there are a bounded number.

    Args:
        host: the address to listen on, IPv4 or IPv6.
        port: 0 takes a free one.
        application: what is served.

    Raises:
        OSError: if it cannot listen there.
    """

    daemon_threads = True
    # With the default, 5, a burst makes the kernel drop who comes next: they wait for a second.
    request_queue_size = 128

    def __init__(self, host: str, port: int, application: "WSGIApplication") -> None:
        self.address_family = socket.getaddrinfo(host, port)[0][0]
        self._lock = threading.Lock()
        self._open: deque[socket.socket] = deque()
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and end the oldest one if there are too many."""
        with self._lock:
            self._open.append(request)
            oldest = self._open.popleft() if len(self._open) > MAX_CONNECTIONS else None
        if oldest:
            # Wakes the thread that reads from it or writes to it, which then closes it.
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave aside that a connection broke: the other side did that."""


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S

    def log_message(self, *_: object) -> None:
        """Log no request."""
