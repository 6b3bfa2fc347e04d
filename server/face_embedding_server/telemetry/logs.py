"""The log: one event a line, as readable text or as JSON, on standard error.

The server logs with the standard library; structlog gives the lines their form. No image, no
embedding and no token is ever logged.
"""

import atexit
import contextlib
import faulthandler
import functools
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO

import structlog

from face_embedding_server import context

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_STANDARD_ERROR = 2
# Lines that wait to be written; more of them are lost.
_MOST_LINES = 10_000
# At the end, for what is not written yet.
_FLUSH_S = 0.5

_log = logging.getLogger(__name__)


def configure(form: Format, level: Level, *, process: int | None = None) -> None:
    """Set up the log of this process, for this package and for the libraries that it uses.

    Args:
        form: text or JSON.
        level: the least level that is logged.
        process: its number, where there are several; each line has it.
    """
    renderers: dict[Format, list[structlog.typing.Processor]] = {
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        "text": [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The default one prints local variables, images among them, where rich is there.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ],
    }
    handler = _PatientHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_request_id,
                *([] if process is None else [functools.partial(_add_process, process)]),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *renderers[form],
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Otherwise a caller's metadata that is no text is logged as it is, tokens too.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_tells_no_metadata)


def take_native_output() -> None:
    """From now on, log what libraries write to standard error past Python.

    Decoders of images write there what they think of a broken one, and would put lines of no form
    into the log. Python's own words, and its traceback of a crash, still go there directly; what a
    library says as it ends the process may be lost.
    """
    own = os.fdopen(os.dup(_STANDARD_ERROR), "w", buffering=1, encoding="utf-8", errors="replace")
    reader, writer = os.pipe()
    os.dup2(writer, _STANDARD_ERROR)
    os.close(writer)
    sys.stderr = own
    faulthandler.enable(own)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _PatientHandler):
            handler.write_to(own)

    def log() -> None:
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _log.debug("a library says: %s", line.rstrip())

    threading.Thread(target=log, name="standard error", daemon=True).start()


class _PatientHandler(logging.Handler):
    """Writes lines in a thread of its own, so that a log that nobody reads holds up no call.

    Lines for which there is no room are lost, and counted.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.write_to(stream)
        self._lines: queue.Queue[str] = queue.Queue(_MOST_LINES)
        self._lost = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()
        atexit.register(self.flush)

    def write_to(self, stream: TextIO) -> None:
        """Write there from now on, past the stream's own lock, which an exit would wait for."""
        self._put: Callable[[str], object] = stream.write
        with contextlib.suppress(OSError, AttributeError):  # It is no file.
            self._put = functools.partial(_write_all, stream.fileno())

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what was taken is written, but not for long."""
        until = time.monotonic() + _FLUSH_S
        with self._lines.all_tasks_done:
            while self._lines.unfinished_tasks and time.monotonic() < until:
                self._lines.all_tasks_done.wait(until - time.monotonic())

    def close(self) -> None:
        """Write the rest, and take no more."""
        self.flush()
        atexit.unregister(self.flush)
        super().close()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if lost := self._lost:
                self._lost = 0
                line = f"{lost} lines of the log were lost, as nobody read it\n{line}"
            with contextlib.suppress(OSError, ValueError):  # Nobody reads it any more.
                self._put(f"{line}\n")
            self._lines.task_done()


def _write_all(descriptor: int, text: str) -> None:
    data = text.encode(errors="replace")
    while data:
        data = data[os.write(descriptor, data) :]


def _tells_no_metadata(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Invalid encoding")


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if request_id := context.request_id():
        event.setdefault("request_id", request_id)
    return event


def _add_process(
    number: int, _: Any, __: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event["process"] = number
    return event
