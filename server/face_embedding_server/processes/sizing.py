"""How many processes make the most of a machine, where the operator leaves that open."""

import logging
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from face_embedding_models.store import Store
from face_embedding_server.inference import backends, threads
from face_embedding_server.settings import Settings

# Faces that one process passes on in a second, however many processors it has: as much as with an
# engine that needs no time; see docs/performance.md.
CEILING = 2000
# With fewer processors the engine is the limit, not the interpreter.
_LEAST_CPUS = 2
_MEASURE_S = 1.0

_log = logging.getLogger(__name__)


def processes(settings: Settings) -> int:
    """Return how many processes to serve with.

    Raises:
        ModelError, OperatorError: if the model, which is measured for that, cannot be loaded.
    """
    if settings.processes != "auto":
        return settings.processes
    cpus = threads.available_cpus()
    if cpus < 2 * _LEAST_CPUS:
        return 1
    # Elsewhere, so that an engine is not in the memory of a process that only watches others.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
        rate = one.submit(_faces_per_s_of_a_cpu, settings).result()
    count = worth(rate, cpus)
    _log.info(
        "processes were chosen",
        extra={"processes": count, "cpus": cpus, "faces_per_s_of_a_cpu": round(rate, 1)},
    )
    return count


def worth(faces_per_s_of_a_cpu: float, cpus: int) -> int:
    """Return how many processes it takes to keep an engine busy on so many processors."""
    needed = math.ceil(cpus * faces_per_s_of_a_cpu / CEILING)
    return max(1, min(needed, cpus // _LEAST_CPUS))


def _faces_per_s_of_a_cpu(settings: Settings) -> float:
    os.sched_setaffinity(0, threads.shares(threads.available_cpus())[0])
    stored = Store(settings.store).get(settings.models[0])
    backend = backends.load(settings.backend, stored, settings.precision)
    size = stored.manifest.input
    face = np.zeros((size.height, size.width, 3), np.uint8)
    backend.embed(face)  # The first one takes longer.
    done, since = 0, time.perf_counter()
    while (took_s := time.perf_counter() - since) < _MEASURE_S:
        backend.embed(face)
        done += 1
    return done / took_s
