"""How many processes make the most of a machine, where the operator leaves that open."""

import logging
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from face_embedding_models.store import Store
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.inference import backends, choosing, threads
from face_embedding_server.inference.choosing import Choice
from face_embedding_server.settings import AUTO, Settings

# Faces that one process passes on in a second, however many processors it has: as much as with an
# engine that needs no time; see docs/performance.md.
CEILING = 2000
# With fewer processors the engine is the limit, not the interpreter.
_LEAST_CPUS = 2
_MEASURE_S = 1.0

_log = logging.getLogger(__name__)


def plan(settings: Settings) -> Settings:
    """Return the settings with what is left open in them chosen: by measuring once, for all.

    That is the number of processes; and with one model its precision, so that no two processes
    choose another one.

    Raises:
        ModelError, OperatorError: if the model, which is measured for that, cannot be loaded.
    """
    if AUTO not in (settings.processes, settings.precision):
        return settings
    cpus = threads.available_cpus()
    chosen: dict[str, object] = {}
    if settings.processes == AUTO and cpus < 2 * _LEAST_CPUS:
        return settings.model_copy(update={"processes": 1})
    # Elsewhere, so that an engine is not in the memory of a process that only watches others.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
        if settings.precision == AUTO and len(settings.models) == 1:
            choice = one.submit(_choice, settings).result()
            chosen |= {"precision": choice.precision, "precision_reason": choice.reason}
        if settings.processes == AUTO:
            at = settings.model_copy(update=chosen)
            rate = one.submit(_faces_per_s_of_a_cpu, at).result()
            chosen["processes"] = worth(rate, cpus)
            facts = chosen | {"cpus": cpus, "faces_per_s_of_a_cpu": round(rate, 1)}
            _log.info("what was left open is chosen", extra=facts)
    return settings.model_copy(update=chosen)


def worth(faces_per_s_of_a_cpu: float, cpus: int) -> int:
    """Return how many processes it takes to keep an engine busy on so many processors."""
    needed = math.ceil(cpus * faces_per_s_of_a_cpu / CEILING)
    return max(1, min(needed, cpus // _LEAST_CPUS))


def _choice(settings: Settings) -> Choice:
    """Return the precision of the default model."""
    return choosing.choose(_default_model(settings), settings)


def _faces_per_s_of_a_cpu(settings: Settings) -> float:
    """Return the faces of the default model that one processor embeds in a second."""
    stored, precision = _default_model(settings), _choice(settings).precision
    os.sched_setaffinity(0, threads.shares(threads.available_cpus())[0])
    backend = backends.load(settings.backend, stored, precision)
    size = stored.manifest.input
    face = np.zeros((size.height, size.width, 3), np.uint8)
    backend.embed(face)  # The first one takes longer.
    done, since = 0, time.perf_counter()
    while (took_s := time.perf_counter() - since) < _MEASURE_S:
        backend.embed(face)
        done += 1
    return done / took_s


def _default_model(settings: Settings) -> StoredModel:
    return Store(settings.store).get(settings.models[0])
