"""When a request is sent again.

| What became of it | Sent again |
|---|---|
| the server refused it with a reason, or it never left | after a wait, as often as `retries` says |
| and it is one of many | after such waits, for `outage_s` |
| the server is overloaded | after the wait that it asks for, as long as a budget lasts |
| the connection was lost meanwhile | once, alone; lost again, it is suspect and never sent again |

All of it within the deadline, which begins anew for one of many while the server is away. gRPC's
own repeating would carry a request that ends its server from one server to the next.
"""

import random
import threading
import time
from dataclasses import dataclass, field

from face_embedding_client import _errors
from face_embedding_client._errors import (
    ConnectionLostError,
    FaceEmbeddingError,
    IncompleteStreamError,
    OverloadedError,
    ServerUnavailableError,
)

MAX_RETRIES = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
# Each wait is longer by up to this share, so that callers do not come back all at once.
_JITTER = 0.2
# As gRPC's retryThrottling: so many repetitions at once, and then one for ten answers.
_BUDGET, _EARNED = 10.0, 0.1


class Budget:
    """How many calls a client may add to an overloaded server's load. Safe to share."""

    def __init__(self) -> None:
        self._tokens = _BUDGET
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Note an answer."""
        if self._tokens < _BUDGET:
            with self._lock:
                self._tokens = min(self._tokens + _EARNED, _BUDGET)

    def take(self) -> bool:
        """Take what one repetition costs, if it is there."""
        with self._lock:
            there = self._tokens >= 1
            self._tokens -= there
        return there


@dataclass
class Loss:
    """When a client last lost a connection, by `time.monotonic`."""

    at: float = 0.0


@dataclass(frozen=True)
class Rule:
    """What one client does about requests without an answer.

    Args:
        timeout_s: the deadline in seconds of a request with its repetitions.
        retries: how often a request that a server did not take is sent again; 0 repeats nothing.
        outage_s: for how many seconds one of many requests is sent again to a server that is away.
        budget: for repetitions to overloaded servers.
        loss: the last one, by whatever request.

    Raises:
        ValueError: if the retries are not 0 to 4, or the outage is negative.
    """

    timeout_s: float
    retries: int
    outage_s: float = 0.0
    budget: Budget = field(default_factory=Budget)
    loss: Loss = field(default_factory=Loss)

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= MAX_RETRIES:
            raise ValueError(f"retries are 0 to {MAX_RETRIES}, not {self.retries}")
        if not self.outage_s >= 0:
            raise ValueError(f"outage_s is a number of seconds from 0, not {self.outage_s}")


class Attempts:
    """Counts how often one request was sent, and decides whether it is sent again.

    Args:
        rule: the client's.
        what: the request in words, for an error.
        field: the path of its only part, for an error.
        alone: it has no parts that could be sent one by one if the connection is lost.
        outlast: it is one of many, whose answers would be lost with it: a server that is away is
            waited for.
    """

    def __init__(
        self,
        rule: Rule,
        what: str,
        field: str = "",
        *,
        alone: bool = True,
        outlast: bool = False,
    ) -> None:
        self._rule = rule
        self._outage_s = rule.outage_s if outlast else 0.0
        self._away_since: float | None = None
        self._what = what
        self._field = field
        self._alone = alone
        self._deadline = time.monotonic() + rule.timeout_s
        self._waits = 0
        self._untaken = 0
        self._lost = False

    def of_part(self, field: str) -> "Attempts":
        """Return those of a part of the request, sent by itself within the same deadline."""
        part = Attempts(self._rule, field, field)
        part._deadline = self._deadline
        part._outage_s = self._outage_s
        return part

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    def wait_s(self, error: FaceEmbeddingError) -> float:
        """Return the seconds to wait before the request is sent again.

        Raises:
            FaceEmbeddingError: `error`, or what it means by now, if the request is given up.
        """
        if not isinstance(error, ServerUnavailableError) or self._rule.retries == 0:
            raise error
        if isinstance(error, ConnectionLostError):
            return self._after_loss(error)
        backoff_s = min(_FIRST_WAIT_S * 2.0**self._waits, _LONGEST_WAIT_S)
        wait_s = (error.retry_after_s or backoff_s) * random.uniform(1, 1 + _JITTER)
        overloaded = isinstance(error, OverloadedError)
        away = not isinstance(error, OverloadedError | IncompleteStreamError)
        if away and self._outlasts(wait_s):
            self._deadline = time.monotonic() + wait_s + self._rule.timeout_s
        elif wait_s >= self.remaining_s:
            raise error
        elif overloaded:
            if not self._rule.budget.take():
                raise error
        elif self._untaken >= self._rule.retries:
            raise error
        self._untaken += not overloaded
        self._waits += 1
        return wait_s

    def _outlasts(self, wait_s: float) -> bool:
        """Return whether a server that is away may be waited for so long."""
        now = time.monotonic()
        self._away_since = self._away_since or now
        return now + wait_s < self._away_since + self._outage_s

    def _after_loss(self, error: ConnectionLostError) -> float:
        self._rule.loss.at = max(self._rule.loss.at, error.lost_at)
        if self._lost:
            raise _errors.suspect(error, self._field, self._what) from error
        if not self._alone or self.remaining_s <= 0:
            raise error
        self._lost = True
        self._away_since = None
        # For a moment gRPC may take a connection that was lost for one that is there.
        return max(0.0, self._rule.loss.at + _FIRST_WAIT_S - time.monotonic())
