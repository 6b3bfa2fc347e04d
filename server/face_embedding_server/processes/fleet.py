"""The parent of several processes that serve one address."""

import logging
import math
import time
from collections.abc import Callable
from multiprocessing import connection

from prometheus_client import CollectorRegistry

from face_embedding_server import listening
from face_embedding_server.errors import OperatorError
from face_embedding_server.inference import threads
from face_embedding_server.inference.model import ModelInfo
from face_embedding_server.listening import Probes
from face_embedding_server.processes.child import Said
from face_embedding_server.processes.member import Member
from face_embedding_server.processes.port import Port
from face_embedding_server.processes.scrapes import MembersCollector
from face_embedding_server.rpc import health
from face_embedding_server.rpc.health import Health
from face_embedding_server.server import SERVICES, most_stop_s
from face_embedding_server.settings import Settings
from face_embedding_server.signals import Signals
from face_embedding_server.telemetry.metrics import MetricsServer

# A process that so often in a row ends early will always do so.
_MOST_FAILURES = 5
# For processes that have ended to be noticed, beside the time that they have themselves.
_NOTICE_S = 1.0

_log = logging.getLogger(__name__)


class ProcessError(OperatorError):
    """A process of several cannot serve, or did not stop well; the message says which, and why."""


class Fleet:
    """Several processes that serve one address.

    Metrics and the port for probes are the parent's, and tell of all of them.

    Args:
        settings: of each of them, and how many there are.
        events: tell it to look at the store, and to stop.

    Raises:
        SettingsError, OperatorError: if a port cannot be had.
    """

    def __init__(self, settings: Settings, events: Signals) -> None:
        self._events = events
        self._most_stop_s = most_stop_s(settings)
        shares = threads.shares(int(settings.processes))
        self._members = [Member(number, cpus) for number, cpus in enumerate(shares)]
        self._health = Health([*SERVICES], listening.open_patience_s(settings))
        self._port = Port(settings.address)
        self.port = self._port.number
        self._settings = settings.model_copy(
            update={"address": self._port.address, "health_address": None, "metrics_address": None}
        )
        self._probes: Probes | None = None
        if settings.health_address:
            self._probes = Probes(settings, settings.health_address, self._health)
        self._metrics_server: MetricsServer | None = None
        if settings.metrics_address:
            registry = CollectorRegistry()
            registry.register(MembersCollector(self._members))
            self._metrics_server = MetricsServer(registry, settings.metrics_address)

    def run(self, announce: Callable[[int, ModelInfo], None]) -> None:
        """Serve until told to stop.

        Args:
            announce: called once, with the port and the default model, when all answer requests.

        Raises:
            OperatorError: if one cannot be started, ends again and again, or does not stop well.
        """
        if self._probes:
            self._probes.start()
        try:
            for member in self._members:
                member.begin(self._settings)
            self._serve(announce)
        finally:
            failed = self._stop()
        if failed:
            raise ProcessError(f"{', '.join(failed)} while it stopped")

    def _serve(self, announce: Callable[[int, ModelInfo], None]) -> None:
        """Look after the processes until told to stop."""
        is_announced = False
        while True:
            stop, look = self._wait()
            if stop:
                return
            for member in self._members:
                if look:
                    member.tell(Said.LOOK)
                if member.hear():
                    self._begin_later(member, is_announced)
                elif member.begin_at_s <= time.monotonic():
                    member.begin(self._settings)
            self._tell_health()
            infos = [member.ready.info for member in self._members if member.ready]
            if not is_announced and len(infos) == len(self._members):
                announce(self.port, infos[0])
                is_announced = True

    def _wait(self) -> tuple[bool, bool]:
        """Wait for news, and return whether to stop, and whether to look at the store."""
        begin_at_s = min(member.begin_at_s for member in self._members)
        wait_s = max(0.0, begin_at_s - time.monotonic())
        awaited = [each for member in self._members for each in member.awaited()]
        signals = self._events.fileno()
        ready = connection.wait([signals, *awaited], None if math.isinf(wait_s) else wait_s)
        return self._events.received() if signals in ready else (False, False)

    def _begin_later(self, member: Member, is_announced: bool) -> None:
        """Have a process that ended be started anew, if there is sense in it.

        Raises:
            ProcessError: if there is none.
        """
        why = member.why
        what = _end(member) or f"process {member.number} ended"
        if not is_announced:
            raise ProcessError(why or f"{what} before it was ready; the log says why")
        if member.failures >= _MOST_FAILURES:
            _log.critical("%s, %d times in a row: the server ends", what, member.failures)
            raise ProcessError(f"{what}, {member.failures} times in a row{why and ': ' + why}")
        wait_s = member.begin_later()
        _log.error("%s; it is started anew in %.1f s", what, wait_s, extra={"why": why})

    def _tell_health(self) -> None:
        is_serving = any(member.is_serving for member in self._members)
        self._health.set(health.SERVING if is_serving else health.NOT_SERVING)

    def _stop(self) -> list[str]:
        """Stop all without losing a call; return what was amiss."""
        self._health.set(health.NOT_SERVING)
        failed: list[str] = []
        for member in self._members:
            member.tell(Said.STOP)
        until = time.monotonic() + self._most_stop_s + _NOTICE_S
        while awaited := [each for member in self._members for each in member.awaited()]:
            left_s = until - time.monotonic()
            if left_s <= 0:
                break
            connection.wait(awaited, left_s)
            ended = [_end(member) for member in self._members if member.hear()]
            failed += filter(None, ended)
        for member in self._members:
            if member.is_running:
                failed.append(f"process {member.number} did not end")
                member.kill()
        if self._probes:
            self._probes.stop()
        if self._metrics_server:
            self._metrics_server.close()
        self._health.close()
        self._port.close()
        return failed


def _end(member: Member) -> str:
    """Put a process away that has ended, and say how it did; nothing if well."""
    status = member.end()
    return f"process {member.number} ended with status {status}" if status else ""
