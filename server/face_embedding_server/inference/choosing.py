"""Which precision a model runs at: the one that was asked for, or what measuring it here shows."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from face_embedding_models.errors import StoreError
from face_embedding_models.openvino.precision import REFERENCE
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.faces.images import Pixels
from face_embedding_server.inference import backends, proof, threads
from face_embedding_server.inference.backends import Backend, BackendError
from face_embedding_server.settings import AUTO, Settings

# The speed is the best of a few short runs: whatever else the machine does only slows one down.
_RUNS = 3
_RUN_S = 0.2
# What is less exact has to gain at least so much, or noise would decide at every start anew.
_MIN_GAIN = 1.05

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The precision of a model, and why it is this one.

    It can be handed on to other processes, as the settings `precision` and `precision_reason`.
    """

    precision: str
    reason: str


@dataclass(frozen=True)
class _Measured:
    """What a precision gives on this machine.

    Args:
        precision: its name.
        faces_per_s: the faces that all processors embed in a second.
        min_cosine: the smallest cosine similarity of a face's embedding to that at f32.
    """

    precision: str
    faces_per_s: float
    min_cosine: float


def choose(stored: StoredModel, settings: Settings) -> Choice:
    """Return the precision that a model is to run at; with `auto`, measure all that it has.

    Each is loaded in turn, embeds drawn faces for 0.6 s, and is let go of. One that cannot be
    loaded is left out, with a word in the log, where also the figures are.

    Args:
        stored: the model.
        settings: name the backend, the precision, and how near to f32 it has to come.

    Raises:
        BackendError: if the backend is unknown, or cannot run the model at f32.
        StoreError: if what it runs at f32 is missing or damaged.
    """
    if settings.precision != AUTO:
        return Choice(settings.precision, settings.precision_reason)
    offered = backends.precisions(settings.backend, stored)
    if list(offered) == [REFERENCE]:
        return Choice(REFERENCE, f"{AUTO}: this model has no other on this machine")
    found = [each for name in offered if (each := _measure(stored, settings, name))]
    reference, best = found[0], found[0]
    for each in found:
        near = each.min_cosine >= settings.min_cosine
        if near and each.faces_per_s >= _MIN_GAIN * best.faces_per_s:
            best = each
        _log.info("%s at %s: %s", stored.manifest.name, each.precision, _words(each, reference))
    asked = f"{settings.min_cosine:g} is asked for"
    if best is reference:
        reason = f"{AUTO}: no other is faster and near enough to it, {asked}"
    else:
        reason = f"{AUTO}: {_words(best, reference)}, {asked}"
    _log.info("%s runs at %s, %s", stored.manifest.name, best.precision, reason)
    return Choice(best.precision, reason)


def _words(measured: _Measured, reference: _Measured) -> str:
    speed = f"{measured.faces_per_s:.0f} faces/s"
    if measured is reference:
        return speed
    gain = measured.faces_per_s / reference.faces_per_s
    return (
        f"{speed}, {gain:.2f} times {reference.precision}, cosine to it at least "
        f"{measured.min_cosine:.5f}"
    )


def _measure(stored: StoredModel, settings: Settings, precision: str) -> _Measured | None:
    """Measure a precision; return None if it is not f32 and cannot be had."""
    try:
        backend = backends.load(settings.backend, stored, precision)
        drift = proof.prove(stored, backend)
    except (BackendError, StoreError) as error:
        if precision == REFERENCE:
            raise
        _log.warning("%s is left out at %s: %s", stored.manifest.name, precision, error)
        return None
    size = stored.manifest.input
    faces = [face.pixels_bgr for face in sample_faces(size.width, size.height)]
    speed = max(_faces_per_s(backend, faces) for _ in range(_RUNS))
    backend.close()
    return _Measured(precision, speed, drift.min_cosine if drift else 1)


def _faces_per_s(backend: Backend, faces: Sequence[Pixels]) -> float:
    """Return how many faces a backend embeds in a second if it has all processors to itself.

    By processor time: on a machine that does something else too, the clock on the wall measured
    bf16 at 0.6 to 5.7 times f32, and processor time at 1.4 to 1.8.
    """
    began, spent = time.perf_counter(), time.process_time()

    def embed(_: int) -> int:
        done = 0
        while time.perf_counter() - began < _RUN_S:
            backend.embed(faces[done % len(faces)])
            done += 1
        return done

    callers = threads.workers()
    with ThreadPoolExecutor(callers) as pool:
        done = sum(pool.map(embed, range(callers)))
    return done / (time.process_time() - spent) * threads.available_cpus()
