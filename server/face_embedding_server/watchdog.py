"""Notices an engine or a detector that answers no more, or an engine with faults alone."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from face_embedding_models.sample_faces import sample_faces
from face_embedding_server.faces.detectors import CountingDetector
from face_embedding_server.faces.reader import PreparedFace
from face_embedding_server.inference.model import ServedModel

_LOOK_S = 0.5
# So many faces in a row that the engine fails on, whoever sent them, are its own fault.
MOST_FAILURES = 16

_log = logging.getLogger(__name__)


class _Work(Protocol):
    """What things go into, and come out of."""

    inside: int
    ended: int


class Watchdog:
    """Looks at the engines of all models, and at the detector, in a thread of its own.

    While one fails on every face, it is tried with one of the sample faces at each look, so that it
    is well again when it is, though no caller may come any more.

    Args:
        models: returns the models that are served.
        detector: returns what finds faces for them; None if there is nothing.
        stall_s: seconds in which a face inside an engine has to come out, or another one; and the
            same of photographs in the detector.
        failing: told that an engine has begun to fail on every face, or that none does any more.
        stalled: told once what has happened if one makes no progress.
    """

    def __init__(
        self,
        models: Callable[[], Iterable[ServedModel]],
        detector: Callable[[], CountingDetector | None],
        stall_s: float,
        failing: Callable[[bool], None],
        stalled: Callable[[str], None],
    ) -> None:
        self._models = models
        self._detector = detector
        self._stall_s = stall_s
        self._failing = failing
        self._stalled = stalled
        self._is_failing = False
        # By engine: how many had ended when one ended last, and the looks since then.
        self._seen: dict[str, tuple[int, int]] = {}
        self._probe = threading.Thread()
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _look(self) -> None:
        # Looks are counted instead of seconds: a process that was halted has not looked.
        while not self._closed.wait(_LOOK_S):
            if self._look_once():
                return

    def _look_once(self) -> bool:
        """Look at all; return whether there is nothing more to look for.

        On its own, so that no model is held until the next look that is replaced meanwhile.
        """
        models = list(self._models())
        for fault, work in self._all_work(models):
            if self._looks_without_progress(fault, work) * _LOOK_S >= self._stall_s:
                self._stalled(f"{fault} for {self._stall_s:g} s")
                return True
        failing = [each for each in models if each.turns.failures >= MOST_FAILURES]
        if bool(failing) != self._is_failing:
            self._is_failing = bool(failing)
            self._tell(failing)
        for model in failing:
            self._try(model)
        return False

    def _all_work(self, models: Iterable[ServedModel]) -> Iterator[tuple[str, _Work]]:
        """Yield what is to be said if work makes no progress, and the work."""
        for model in models:
            yield f"{model.info.name}: no face came out of {model.info.backend}", model.turns
        if detector := self._detector():
            yield f"no photograph came out of the detector {detector.name}", detector

    def _looks_without_progress(self, fault: str, work: _Work) -> int:
        ended, looks = self._seen.get(fault, (-1, 0))
        looks = looks + 1 if work.inside and work.ended == ended else 0
        self._seen[fault] = (work.ended, looks)
        return looks

    def _tell(self, failing: list[ServedModel]) -> None:
        for model in failing:
            _log.error(
                "%s fails on every face, the last %d in a row: the server says NOT_SERVING",
                model.info.name,
                MOST_FAILURES,
            )
        if not failing:
            _log.info("the engine is well again")
        self._failing(bool(failing))

    def _try(self, model: ServedModel) -> None:
        """Try a sample face, in a thread of its own, as it may never come out."""
        if self._probe.is_alive():
            return
        size = model.info.input_size
        face = sample_faces(size.width, size.height)[0].pixels_bgr

        def probe() -> None:
            try:
                model.embed_prepared(PreparedFace(face))
            except Exception as error:
                _log.debug("%s still fails: %s", model.info.name, error)

        self._probe = threading.Thread(target=probe, name="probe", daemon=True)
        self._probe.start()
