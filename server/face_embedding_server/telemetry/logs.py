"""The log: one event a line, as readable text or as JSON, on standard error.

The server logs with the standard library; structlog gives the lines their form. No image, no
embedding and no token is ever logged.
"""

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from face_embedding_server import context

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_STANDARD_ERROR = 2

_log = logging.getLogger(__name__)


def configure(form: Format, level: Level) -> None:
    """Set up the log of this process, for this package and for the libraries that it uses."""
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
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_request_id,
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
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(own)

    def log() -> None:
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _log.debug("a library says: %s", line.rstrip())

    threading.Thread(target=log, name="standard error", daemon=True).start()


def _tells_no_metadata(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Invalid encoding")


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if request_id := context.request_id():
        event.setdefault("request_id", request_id)
    return event
