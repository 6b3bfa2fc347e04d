"""Which models the server has, and how one is replaced while others answer.

A new version is loaded beside the old one, and only takes its place once it has proven itself.
Calls in progress keep the one that they have, which is gone when the last of them ends.
"""

import logging
from dataclasses import dataclass

from face_embedding_models.errors import ModelError
from face_embedding_models.store import Store
from face_embedding_models.store.stored import StoredModel
from face_embedding_models.texts import clipped
from face_embedding_server.errors import OperatorError, Reason, Refusal
from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import CountingDetector, Running
from face_embedding_server.inference import loading, operating_points, threads
from face_embedding_server.inference.model import ServedModel
from face_embedding_server.inference.operating_points import Calibration, CalibrationError
from face_embedding_server.settings import ALL_OTHERS, Settings
from face_embedding_server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Hosted:
    """A model that is served, and what its files were when it was loaded."""

    model: ServedModel
    files: str


class Registry:
    """The models of a server.

    Args:
        settings: name the models; the first is the default.
        metrics: are told of what is loaded.

    Raises:
        StoreError: if a named model is not in the store.
        UnknownModelError: if there is no model of that name.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = Store(settings.store)
        self._named = [name for name in settings.models if name != ALL_OTHERS]
        for name in self._named:
            self._store.get(name)
        self._is_ready = False
        self._detector: CountingDetector | None = None
        self._hosted: dict[str, _Hosted] = {}
        # Files that could not be loaded, and what was said of them.
        self._refused: dict[str, str] = {}
        self._complaints: dict[str, str] = {}

    def load(self) -> ServedModel:
        """Load all models, and return the default one.

        Raises:
            ModelError, OperatorError: if a named model cannot be served. One that is not named is
                left out instead, with a word in the log.
        """
        detector = detectors.load(
            self._settings.detector,
            self._settings.detector_model,
            self._store,
            Running(self._settings.detector_precision, threads.photographs()),
        )
        self._detector = CountingDetector(detector) if detector else None
        for name in self._named:
            stored = self._store.get(name)
            self._load(stored, self._files(stored))
        self.refresh(retry=False)
        calibrated = self._read_calibration()
        if calibrated and calibrated.model not in self._hosted:
            raise CalibrationError(
                f"the calibration {self._settings.calibration} is of the embedding space "
                f"'{calibrated.space}', and this server does not serve that model"
            )
        self._is_ready = True
        return self._hosted[self._named[0]].model

    def refresh(self, *, retry: bool) -> None:
        """Load what is new or was changed in the store; what cannot be loaded is only logged.

        Args:
            retry: try again what could not be loaded before, though its files are the same.
        """
        for name in self._wanted():
            try:
                stored = self._store.get(name)
                files = self._files(stored)
                if self._is_served(name, files):
                    self._forget_refusal(name)
                elif retry or self._refused.get(name) != files:
                    self._load(stored, files)
            except (ModelError, OperatorError) as error:
                self._complain(name, error, retry)
            except Exception as error:
                # Nothing that a store holds may end a server that answers.
                _log.error("a fault while %s was loaded", name, exc_info=error)
                self._complain(name, error, retry)

    def get(self, name: str, version: str = "", field: str = "model") -> ServedModel:
        """Return the model for a request.

        Args:
            name: the name in the request; empty for the default model.
            version: the version in the request; empty for any.
            field: the request's field that has the name.

        Raises:
            Refusal: if it is not served here, not at that version, or not loaded yet.
        """
        name = name or self._named[0]
        hosted = self._hosted.get(name)
        if hosted is None:
            raise self._missing(name, field)
        if version not in ("", hosted.model.version):
            raise Refusal(
                Reason.MODEL_VERSION,
                f"{name} is served at version {hosted.model.version}, not {clipped(version)}",
                "model_version",
            )
        return hosted.model

    def models(self) -> list[ServedModel]:
        """Return the models that are served."""
        return [hosted.model for hosted in list(self._hosted.values())]

    def detector(self) -> CountingDetector | None:
        """Return what finds faces for all of them; None if there is nothing, or not yet."""
        return self._detector

    def names(self) -> list[str]:
        """Return the names of the models that are served, the default one first."""
        return sorted(self._hosted, key=lambda name: (name != self._named[0], name))

    @property
    def is_ready(self) -> bool:
        """Whether all models are loaded."""
        return self._is_ready

    def close(self) -> None:
        """Let go of the engines."""
        for hosted in self._hosted.values():
            hosted.model.backend.close()

    def _wanted(self) -> list[str]:
        if ALL_OTHERS not in self._settings.models:
            return self._named
        try:
            found = self._store.names()
        except (ModelError, OSError) as error:
            _log.error("the store cannot be looked at: %s", error)
            found = []
        return [*self._named, *(name for name in found if name not in self._named)]

    def _complain(self, name: str, error: Exception, retry: bool) -> None:
        """Tell that a model is refused; where nobody asked for the look, once for each reason."""
        if retry or self._complaints.get(name) != str(error):
            self._complaints[name] = str(error)
            stays = ", the old one stays" if name in self._hosted else ""
            _log.error("%s is refused%s: %s", name, stays, error)
            self._metrics.model_refused(name)

    def _is_served(self, name: str, files: str) -> bool:
        hosted = self._hosted.get(name)
        return hosted is not None and hosted.files == files

    def _forget_refusal(self, name: str) -> None:
        self._refused.pop(name, None)
        self._complaints.pop(name, None)

    def _files(self, stored: StoredModel) -> str:
        return f"{stored.fingerprint}\n{self._calibration_of(stored.manifest.name)}"

    def _calibration_of(self, name: str) -> Calibration | None:
        calibrated = self._read_calibration()
        return calibrated if calibrated and calibrated.model == name else None

    def _read_calibration(self) -> Calibration | None:
        return (
            operating_points.read(self._settings.calibration)
            if self._settings.calibration
            else None
        )

    def _load(self, stored: StoredModel, files: str) -> None:
        name = stored.manifest.name
        self._refused[name] = files
        calibrated = self._calibration_of(name)
        model = loading.load(stored, self._settings, self._detector, calibrated)
        for doubt in calibrated.doubts(model.info.detector) if calibrated else ():
            _log.warning("the calibration of %s: %s", name, doubt)
        self._forget_refusal(name)
        # One assignment, so that a request sees the old model or the new one.
        self._hosted[name] = _Hosted(model, files)
        self._metrics.model_loaded(model.info, stored.origin)
        _log.info("%s is served at version %s", name, stored.version)

    def _missing(self, name: str, field: str) -> Refusal:
        if name in self._named or (not self._is_ready and name in self._wanted()):
            return Refusal(
                Reason.MODEL_LOADING,
                f"{name} is being loaded; try again when the health service says SERVING",
            )
        served = ", ".join(f"'{each}'" for each in self.names() or self._named)
        return Refusal(
            Reason.MODEL_UNKNOWN,
            f"this server serves {served}, not '{clipped(name)}'",
            field,
        )
