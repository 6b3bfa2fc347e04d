"""A web server on this machine that plays the hosts of weights, and remembers what it was asked."""

import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What would lead requests elsewhere.
WEB_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
)


@dataclass(frozen=True)
class Answer:
    """What is answered at a path.

    Args:
        body: the file.
        status: of the answer, if the file is not asked for in part.
        headers: more of them; one of None is left out.
        cut: the first time, the connection ends after this many bytes.
        stall: nothing comes after this many bytes of the file, until the server ends.
        endless: the body is repeated for ever.
        ranges: a part is sent to who asks for one, on the conditions that they set.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    endless: bool = False
    ranges: bool = True


def redirect(target: str) -> Answer:
    return Answer(status=302, headers={"Location": target})


@dataclass(frozen=True)
class Request:
    """What was asked: the path with its query, or the address from who takes this for a proxy."""

    path: str
    headers: Mapping[str, str]


class Hosts:
    """Answers by path, and the requests so far."""

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.port = server.server_port
        self.root = f"{scheme}://{'localhost' if scheme == 'https' else '127.0.0.1'}:{self.port}"
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self.stalled = threading.Event()
        self.ended = threading.Event()
        self.times: Counter[str] = Counter()

    def url(self, path: str, answer: Answer | None = None) -> str:
        """Return the address of a path, and answer there as told."""
        if answer:
            self.answers[path] = answer
        return self.root + path

    @property
    def ranges(self) -> list[str | None]:
        """The parts that were asked for."""
        return [request.headers.get("Range") for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    hosts: Hosts

    def do_GET(self) -> None:
        hosts, path = self.hosts, self.path.partition("?")[0]
        hosts.requests.append(Request(self.path, dict(self.headers)))
        hosts.times[path] += 1
        answer = hosts.answers.get(path, Answer(status=404))
        status, headers, start = self._begin(answer)
        if answer.stall == 0 and not answer.body:
            self._wait()
            return
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # The client went away.
            self._send(answer, start, hosts.times[path] == 1)

    def _begin(self, answer: Answer) -> tuple[int, dict[str, str | None], int]:
        size = len(answer.body)
        whole = {"Content-Length": None if answer.endless else str(size), **answer.headers}
        wanted = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        same = condition in (None, whole.get("ETag"), whole.get("Last-Modified"))
        if not (wanted and same and answer.ranges):
            return answer.status, whole, 0
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= size:
            return 416, {"Content-Length": "0"}, size
        part = {
            "Content-Length": str(size - start),
            "Content-Range": f"bytes {start}-{size - 1}/{size}",
        }
        return 206, {**whole, **part}, start

    def _send(self, answer: Answer, start: int, first: bool) -> None:
        end = answer.stall if answer.stall is not None else answer.cut if first else None
        self.wfile.write(answer.body[start:end])
        while answer.endless and not self.hosts.ended.is_set():
            self.wfile.write(answer.body)
        if answer.stall is not None:
            self.wfile.flush()
            self._wait()

    def _wait(self) -> None:
        self.hosts.stalled.set()
        self.hosts.ended.wait()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Hosts]:
    """Serve on a free port until the block ends."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hosts = Handler.hosts = Hosts(server, "https" if tls else "http")
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hosts
        finally:
            hosts.ended.set()
            server.shutdown()
            thread.join()
