"""One of several processes, as the parent sees it."""

import logging
import math
import multiprocessing
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from prometheus_client import Metric

from face_embedding_server.processes import child
from face_embedding_server.processes.child import Failed, Place, Ready, Said, Serves
from face_embedding_server.settings import Settings

# A process that was ready for so long has nothing against it any more.
_SOUND_S = 60.0
# Until one that ended is started anew: twice as long each time that it ends early.
_FIRST_WAIT_S = 0.5
_MOST_WAIT_S = 30.0
# It does that in the time that one process needs for its own.
_SCRAPE_S = 2.0

# Not forked, as gRPC and the engines do not survive that.
_SPAWN = multiprocessing.get_context("spawn")

_log = logging.getLogger(__name__)


class Member:
    """A process of several, and what is known of it.

    Args:
        number: its own, from 0 on.
        cpus: its share of the processors.
    """

    def __init__(self, number: int, cpus: frozenset[int]) -> None:
        self.number = number
        self.restarts = 0
        # How often in a row it ended without having been ready for long.
        self.failures = 0
        self.is_serving = False
        self.ready: Ready | None = None
        # What it said of its end.
        self.why = ""
        # When to start it anew, by the monotonic clock; endless while it runs.
        self.begin_at_s = math.inf
        self._cpus = cpus
        self._process: Any = None
        self._link: Connection | None = None
        self._ready_since_s = math.inf
        self._scraping = threading.Lock()
        self._scrapes: Connection | None = None
        self._scrape = 0

    def begin(self, settings: Settings) -> None:
        """Start it."""
        self.begin_at_s, self.ready, self.why = math.inf, None, ""
        self._link, its_link = _SPAWN.Pipe()
        scrapes, its_scrapes = _SPAWN.Pipe()
        place = Place(self.number, self._cpus, its_link, its_scrapes)
        self._process = _SPAWN.Process(
            target=child.run, args=(settings, place), name=f"process {self.number}"
        )
        self._process.start()
        # So that each end is told when the other one is gone.
        its_link.close()
        its_scrapes.close()
        with self._scraping:
            self._scrapes = scrapes

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def awaited(self) -> list[Any]:
        """Return what `multiprocessing.connection.wait` tells of when there is news of it."""
        return [self._link, self._process.sentinel] if self._process else []

    def hear(self) -> bool:
        """Take what it has said; return whether it has ended."""
        if self._process is None or self._link is None:
            return False
        # Before what it said last is read: it says nothing more.
        has_ended = self._process.exitcode is not None
        try:
            while self._link.poll():
                self._take(self._link.recv())
        except (EOFError, OSError):
            self._process.join()
            has_ended = True
        return has_ended

    def _take(self, said: Ready | Serves | Failed) -> None:
        if isinstance(said, Ready):
            self.ready, self._ready_since_s = said, time.monotonic()
            _log.info("process %d is ready", self.number, extra=self._facts())
        elif isinstance(said, Serves):
            self.is_serving = said.is_serving
        else:
            self.why = said.why

    def end(self) -> int:
        """Put away a process that has ended, and return its exit status."""
        status: int = self._process.exitcode
        was_sound = time.monotonic() - self._ready_since_s > _SOUND_S
        self.failures = 1 if was_sound else self.failures + 1
        self._put_away()
        return status

    def begin_later(self) -> float:
        """Have it be started anew, and return the seconds until then."""
        wait_s: float = min(_MOST_WAIT_S, _FIRST_WAIT_S * 2 ** (self.failures - 1))
        self.begin_at_s = time.monotonic() + wait_s
        self.restarts += 1
        return wait_s

    def tell(self, what: Said) -> None:
        """Say something to it, if it is there."""
        if self._link:
            try:
                self._link.send(what)
            except OSError:
                _log.warning("process %d cannot be told anything", self.number)

    def kill(self) -> None:
        """End it at once, if it is there."""
        if self._process:
            self._process.kill()
            self._process.join()
            self._put_away()

    def scrape(self) -> Sequence[Metric]:
        """Return its metrics; none if it does not give them in time."""
        with self._scraping:
            if self._scrapes is None:
                return ()
            self._scrape += 1
            try:
                self._scrapes.send(self._scrape)
                while self._scrapes.poll(_SCRAPE_S):
                    number, families = self._scrapes.recv()
                    if number == self._scrape:  # Another one was given up before.
                        found: Sequence[Metric] = families
                        return found
            except (EOFError, OSError):
                pass  # It has just ended.
            return ()

    def _put_away(self) -> None:
        self._process.close()
        self._process, self.is_serving, self._ready_since_s = None, False, math.inf
        if self._link:
            self._link.close()
        self._link = None
        with self._scraping:
            if self._scrapes:
                self._scrapes.close()
            self._scrapes = None

    def _facts(self) -> dict[str, object]:
        return {"pid": self._process.pid, "cpus": sorted(self._cpus)}
