"""One of several processes, from inside: it serves until its parent says so, or is gone."""

import enum
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import NoReturn

from face_embedding_models import sandbox
from face_embedding_models.errors import ModelError
from face_embedding_server import ending, server
from face_embedding_server.errors import OperatorError
from face_embedding_server.inference.model import ModelInfo
from face_embedding_server.server import Server
from face_embedding_server.settings import Settings
from face_embedding_server.signals import Signals
from face_embedding_server.telemetry import logs, tracing

EXIT_ERROR = 2

_log = logging.getLogger(__name__)


class Said(enum.Enum):
    """What the parent says."""

    STOP = enum.auto()
    # Look at the store, as a person asked for it.
    LOOK = enum.auto()


@dataclass(frozen=True)
class Ready:
    """A child answers requests, with this default model."""

    info: ModelInfo


@dataclass(frozen=True)
class Serves:
    """A child begins or ends to serve."""

    is_serving: bool


@dataclass(frozen=True)
class Failed:
    """A child ends, for a reason that the operator is to read."""

    why: str


@dataclass(frozen=True)
class Place:
    """What a child is among the others.

    Args:
        number: its own, from 0 on.
        cpus: its share of the processors.
        link: to its parent, which says `Said` and hears `Ready`, `Serves` and `Failed`.
        scrapes: the same, to ask for its metrics: it answers a number with that number and them.
    """

    number: int
    cpus: frozenset[int]
    link: Connection
    scrapes: Connection


def run(settings: Settings, place: Place) -> NoReturn:
    """Serve on a port that other processes listen on as well, and end the process."""
    os.sched_setaffinity(0, place.cpus)  # What engines begin later inherits it.
    events = _Events(place.link)
    logs.configure(settings.log_format, settings.log_level, process=place.number)
    status = 0
    try:
        _serve(settings, place, events)
    except (ModelError, OperatorError) as error:
        status = EXIT_ERROR
        events.say(Failed(str(error)))
    except Exception:
        status = EXIT_ERROR
        _log.exception("a fault of the server ends it")
    ending.leave(status)


def _serve(settings: Settings, place: Place, events: "_Events") -> None:
    def announce(_: int, info: ModelInfo) -> None:
        logs.take_native_output()
        events.say(Ready(info))

    def tell(is_serving: bool) -> None:
        events.say(Serves(is_serving))

    with tracing.exporting(settings.tracing) as tracer:
        serving = Server(settings, tracer, events.stop, tell, shares_port=True)
        threading.Thread(
            target=_answer_scrapes, args=(place.scrapes, serving), name="scrapes", daemon=True
        ).start()
        serving.run(events, announce)


def _answer_scrapes(scrapes: Connection, serving: Server) -> None:
    try:
        while True:
            number = scrapes.recv()
            scrapes.send((number, list(serving.metrics.registry.collect())))
    except (EOFError, OSError):
        return  # The parent is gone.


class _Events(server.Events):
    """What the parent says, and signals, as some send them to all processes of a group."""

    def __init__(self, link: Connection) -> None:
        self._signals = Signals()
        self._link = link
        self._saying = threading.Lock()

    def say(self, what: Ready | Serves | Failed) -> None:
        """Tell the parent, if it is still there."""
        with self._saying:
            try:
                self._link.send(what)
            except OSError:
                _log.warning("the parent process is gone")

    def looks(self, watch_s: float) -> Iterator[bool]:
        """Yield whenever the store is to be looked at; see `server.Events`."""
        while True:
            signals = self._signals.fileno()
            ready = connection.wait([signals, self._link], watch_s or None)
            stop, look = self._signals.received() if signals in ready else (False, False)
            if self._link in ready:
                said = self._heard()
                stop, look = stop or said is Said.STOP, look or said is Said.LOOK
            if stop:
                self._end_with_parent()
                return
            yield look

    def stop(self) -> None:
        """Have `looks` end."""
        self._signals.stop()

    def end_within(self, seconds: float) -> None:
        """Have the process end by then, whatever hangs."""
        self._signals.end_within(seconds)

    def _heard(self) -> Said:
        try:
            said: Said = self._link.recv()
        except (EOFError, OSError):
            _log.error("the parent process is gone: this one ends too")
            return Said.STOP
        return said

    def _end_with_parent(self) -> None:
        """Have a parent that is told twice to stop, and ends at once, end this process too."""
        sandbox.be_killed_with_parent()
