"""The log: one event a line, as readable text or as JSON, on standard error.

The server logs with the standard library; structlog gives the lines their form. No image, no
embedding and no token is ever logged.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from face_embedding_server.telemetry import current

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]


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


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if request_id := current.request_id():
        event.setdefault("request_id", request_id)
    return event
