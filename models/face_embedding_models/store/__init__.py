"""The store: a folder that holds the models and detectors of a machine.

    STORE/
      MODEL/
        current.json                     which version is in use
        VERSION/                         one folder a version
          parts.json                     what binds the following to one another (see `parts`)
          checkpoint/                    the weights as they came: model-symbol.json and
                                         model-0000.params, or model.onnx; and manifest.json, for a
                                         model that is not shipped with one
          ir-f32/                        model.xml, model.bin, golden.npy
          drift-bf16/                    how far a precision is from f32

Every innermost folder is sealed (see `sealed`), and a version changes as a whole, so that nothing
half-written is ever visible and nothing changed is ever used.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field

from face_embedding_models import formats, manifest, regular_files
from face_embedding_models.errors import StoreError, UnknownModelError
from face_embedding_models.manifest import DetectorManifest, Manifest, Package
from face_embedding_models.store import parts, records, sealed, stored
from face_embedding_models.store.parts import CHECKPOINT_FOLDER
from face_embedding_models.store.stored import (
    MANIFEST_FILE,
    VERSION_DIGITS,
    Provenance,
    StoredModel,
    StoredWeights,
    version_of,
)
from face_embedding_models.texts import clipped

_CURRENT_FILE = "current.json"
_RECORDS = f"[!.]*/[!.]*/{CHECKPOINT_FOLDER}/{sealed.RECORD_FILE}"


@dataclass(frozen=True)
class _Current:
    # Never a path, which could lead out of the model's folder.
    checkpoint: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Store:
    """The models of a machine, under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Return the names of the models that have weights, sorted."""
        return [name for name in self._installed() if name not in manifest.detector_names()]

    def has(self, name: str) -> bool:
        """Tell whether a model or a detector has weights here."""
        return name in self._installed()

    def get(self, name: str) -> StoredModel:
        """Return a model in the version that is in use.

        Raises:
            UnknownModelError: if no manifest has that name.
            StoreError: if the store has no weights for it.
        """
        if name in manifest.detector_names():
            raise UnknownModelError(f"{name} is a detector; it finds faces and embeds none")
        if name not in self._installed():
            self._refuse_unknown(name)
            raise StoreError(
                f"{name} is not in the store {self.root}; get its weights with "
                f"'face-embedding-server models install {name}', import them with "
                f"'face-embedding-server models import {name} PATH_OR_URL', or make a stand-in "
                f"with 'face-embedding-server models synthesize {name}'"
            )
        return stored.read(name, self.root / name / self._current(name))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model that are in the store, sorted."""
        # The name is not made part of a path, which it could lead out of the store.
        folders = [path.parents[1] for path in self.root.glob(_RECORDS)]
        return sorted(folder.name for folder in folders if folder.parent.name == name)

    def get_version(self, name: str, version: str) -> StoredModel:
        """Return a model in a version.

        Raises:
            StoreError: if the store does not have it.
        """
        self._check_version(name, version)
        return stored.read(name, self.root / name / version)

    def get_detector(self, name: str) -> StoredWeights:
        """Return a detector.

        Raises:
            StoreError: if it is not installed.
        """
        if name not in self._installed():
            raise StoreError(
                f"the detector {name} is not in the store {self.root}; get it with "
                f"'face-embedding-server models install {name}'"
            )
        return stored.read_weights(name, self.root / name / self._current(name))

    def add(
        self,
        known: Manifest,
        files: Mapping[str, bytes],
        provenance: Provenance,
        prepare: Callable[[StoredModel, Path], object] = lambda *_: None,
    ) -> StoredModel:
        """Put weights into the store, beside those that are in use.

        Args:
            known: the model's manifest.
            files: the weights by the names of `formats.PARTS`.
            provenance: where they come from.
            prepare: makes what has to be there too, such as the IR, in the folder that it is given,
                before any of it is seen.

        Returns:
            The model with these weights, to be put to use; see `use`.

        Raises:
            StoreError: if the store cannot be written.
        """
        version = version_of(known, formats.digest(known.format, files))
        if known.name not in manifest.names():
            files = {**files, MANIFEST_FILE: manifest.to_json(known).encode()}
        with sealed.pending_folder(self.root) as pending:
            self._write(pending, known, files, version, provenance)
            folder = self.root / known.name / version
            model = stored.read(known.name, pending)
            prepare(model, pending)
            parts.place(pending, folder)
            return replace(model, folder=folder)

    def add_detector(
        self, known: DetectorManifest, files: Mapping[str, bytes], provenance: Provenance
    ) -> StoredWeights:
        """Put a detector into the store, and to use.

        Raises:
            StoreError: if the store cannot be written.
        """
        version = formats.digest(known.format, files)[:VERSION_DIGITS]
        with sealed.pending_folder(self.root) as pending:
            self._write(pending, known, files, version, provenance)
            weights = stored.read_weights(known.name, pending)
            folder = self.root / known.name / version
            parts.place(pending, folder)
        self.use_version(known.name, version)
        return replace(weights, folder=folder)

    def use(self, model: StoredModel) -> None:
        """Make a version of a model the one that `get` returns.

        Raises:
            StoreError: if the store cannot be written.
        """
        self.use_version(model.manifest.name, model.version)

    def use_version(self, name: str, version: str) -> None:
        """Make a version of a model or a detector the one in use.

        Raises:
            StoreError: if the store does not have it, or cannot be written.
        """
        with self._alone():
            self._check_version(name, version)
            text = records.to_text({"checkpoint": version})
            sealed.write_text(self.root / name / _CURRENT_FILE, text)

    def remove(self, name: str, version: str = "") -> None:
        """Remove a model or a detector, or one version of it that is not in use.

        Raises:
            StoreError: if it is not there, or the version is in use.
        """
        with self._alone():
            if version:
                self._check_version(name, version)
            elif not self.versions(name) and name not in self._installed():
                self._refuse_unknown(name)
                raise StoreError(f"{name} is not in the store {self.root}")
            if version and name in self._installed() and version == self._current(name):
                raise StoreError(
                    f"{name} {version} is in use; put another version to use first with "
                    f"'face-embedding-server models use {name} VERSION', or remove all of {name}"
                )
            sealed.remove(self.root / name / version)

    def sweep(self) -> None:
        """Remove what killed processes were writing."""
        for folder in (self.root, *self.root.glob("[!.]*/"), *self.root.glob("[!.]*/[!.]*/")):
            sealed.remove_abandoned(folder)

    def _write(
        self,
        pending: Path,
        known: Package,
        files: Mapping[str, bytes],
        version: str,
        provenance: Provenance,
    ) -> None:
        def fill(folder: Path) -> None:
            for name, data in files.items():
                regular_files.write(folder / name, data)

        record = {
            "model": known.name,
            "version": version,
            "weights_sha256": formats.digest(known.format, files),
            **asdict(provenance),
        }
        sealed.write(pending / CHECKPOINT_FOLDER, fill, record)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process change what there is in the store."""
        with sealed.locked(self.root) if self.root.is_dir() else contextlib.nullcontext():
            yield

    def _installed(self) -> list[str]:
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"the store {self.root} is a file, not a folder")
        return sorted(path.parent.name for path in self.root.glob(f"[!.]*/{_CURRENT_FILE}"))

    def _check_version(self, name: str, version: str) -> None:
        if version not in self.versions(name):
            self._refuse_unknown(name)
            known = ", ".join(self.versions(name)) or "none"
            raise StoreError(
                f"{name} has no version '{clipped(version)}' in the store; it has {known}"
            )

    def _refuse_unknown(self, name: str) -> None:
        known = sorted({*manifest.names(), *manifest.detector_names(), *self._installed()})
        if name not in known:
            raise manifest.unknown(name, known)

    def _current(self, name: str) -> str:
        """Return the version of a model that is in use."""
        path = self.root / name / _CURRENT_FILE
        remedy = f"put a version to use with 'face-embedding-server models use {name} VERSION'"
        return records.checked(_Current, records.read(path, remedy), path, remedy).checkpoint


def default_root() -> Path:
    """Return the store's folder where none is named: in the user's data folder.

    Raises:
        StoreError: if the user has none, as one without a home.
    """
    # Without a home some versions of platformdirs raise, and others leave the tilde.
    with contextlib.suppress(RuntimeError):
        folder = platformdirs.user_data_path("face-embedding") / "models"
        if folder.is_absolute():
            return folder
    raise StoreError(
        "this user has no home folder to have a store in: name a folder with --store or "
        "FACE_EMBEDDING_STORE"
    )
