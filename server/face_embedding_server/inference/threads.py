"""How much of the machine this process may use, and how many threads that makes.

    thread               number            does
    handler              handlers()        takes a call with one answer, and embeds an only face
      aside              ASIDE             waits in such a call, for its message or other threads
    stream               STREAMS           sends the answers of a stream
    open                 OPEN              takes a call that needs no permission
    aligned              workers()         embeds the faces of a call with several, and of streams
    photograph           photographs()     decodes, finds, aligns and embeds
    (of the engine)      available_cpus()  computes, whoever called

Of all that embed at a time, `turns()` are inside the engine, in the order in which they came; the
others wait, and are given up there if their answer would come too late.
"""

import itertools
import math
import os
import random
from pathlib import Path

from face_embedding_server.inference import control_groups
from face_embedding_server.inference.control_groups import CGROUP, PROC

STREAMS = 128
OPEN = 4
# Health has threads of its own, for each of its methods and for its changes.
HEALTH = 4
# Calls that only wait, for their message or for other threads, beside those.
ASIDE = 256
OPEN_ASIDE = 28
HEALTH_ASIDE = 60
# Seconds for the message of a call that anyone may make: it is small, and comes with the call. A
# large one that is sent instead is held no longer.
OPEN_PATIENCE_S = 2.0
# Calls that wait for one of these threads, of each kind; more of them are refused.
WAITING = 1024
# For each turn one that has it, and one that is about to.
_HANDLERS_PER_TURN = 2
_LEAST_HANDLERS = 16
# Two for each stream of the engine, so that none waits for the next face.
_WORKERS_PER_CPU = 2
# Each of the engine's streams has one face in work, one next, and some in reserve.
_TURNS_PER_CPU = 4
# Images that a command embeds at a time.
_EVALUATED_PER_CPU = 4


def handlers() -> int:
    """Return the number of calls with one answer that are in work at a time."""
    return max(_LEAST_HANDLERS, _HANDLERS_PER_TURN * turns())


def workers() -> int:
    """Return the number of threads that take aligned faces."""
    return _WORKERS_PER_CPU * available_cpus()


def photographs() -> int:
    """Return the number of threads that take photographs, each of which is large in memory."""
    return available_cpus()


def turns() -> int:
    """Return the number of faces that are inside the engine at a time."""
    return _TURNS_PER_CPU * available_cpus()


def evaluated() -> int:
    """Return the number of images that an evaluation embeds at a time."""
    return _EVALUATED_PER_CPU * available_cpus()


def available_cpus(cgroup: Path = CGROUP, proc: Path = PROC) -> int:
    """Return the number of processors that the process can keep busy, at least 1.

    It is the smaller of its affinity and of the quota of its control groups, rounded up, and not
    the number of processors of the host: threads beyond it would only be throttled.

    Source: `sched_getaffinity(2)`; for the arguments see `control_groups.quota`.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = control_groups.quota(cgroup, proc)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def shares(count: int, cgroup: Path = CGROUP) -> list[frozenset[int]]:
    """Return the processors of each of so many processes.

    Of more than it can keep busy, which ones is left to chance, as others may share them out too.

    Source: `sched_setaffinity(2)`.
    """
    allowed, number = sorted(os.sched_getaffinity(0)), available_cpus(cgroup)
    if number < len(allowed):
        allowed = sorted(random.sample(allowed, number))
    if count >= number:
        return [frozenset({allowed[each % number]}) for each in range(count)]
    ends = [number * each // count for each in range(count + 1)]
    return [frozenset(allowed[begin:end]) for begin, end in itertools.pairwise(ends)]
