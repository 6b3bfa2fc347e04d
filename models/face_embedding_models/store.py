"""The store: a folder that holds the models of a machine.

    STORE/
      MODEL/
        current.json                     which checkpoint is in use
        DIGEST/                          one folder a checkpoint
          checkpoint/                    model-symbol.json, model-0000.params
          ir-f32/                        model.xml, model.bin, golden.npy
          drift-bf16/                    how far a precision is from f32

Every innermost folder is sealed (see `sealed`), so that nothing half-written is ever visible and
nothing changed is ever used.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from face_embedding_models import checkpoint, manifest, sealed
from face_embedding_models.checkpoint import PARAMS_FILE, SYMBOL_FILE, Checkpoint
from face_embedding_models.errors import StoreError
from face_embedding_models.manifest import Manifest

Origin = Literal["published", "unverified", "synthetic"]

ORIGIN_NOTES: dict[Origin, str] = {
    "published": "the published weights, verified by size and SHA-256",
    "unverified": "UNVERIFIED weights: they were not proven to be the published ones",
    "synthetic": "SYNTHETIC weights: a stand-in whose embeddings mean nothing for recognition",
}

IR_MODEL_FILE = "model.xml"
IR_WEIGHTS_FILE = "model.bin"
GOLDEN_FILE = "golden.npy"
_CURRENT_FILE = "current.json"
_CHECKPOINT_FOLDER = "checkpoint"
_FOLDER_DIGITS = 16
_VERSION_DIGITS = 16


@dataclass(frozen=True)
class StoredModel:
    """A model with weights.

    Args:
        manifest: what is known of the model.
        folder: where its files are.
        weights_sha256: the digest of its checkpoint, see `checkpoint.digest`.
        origin: where the weights come from.
        source: the name of the file, folder or generator that they came from.
    """

    manifest: Manifest
    folder: Path
    weights_sha256: str
    origin: Origin
    source: str

    @property
    def embedding_space(self) -> str:
        """The identifier of the space that the model's embeddings live in.

        It names the model, the start of its weights' digest, and its output, and not the engine
        that computes it: parity makes embeddings of all engines comparable.
        """
        name, output = self.manifest.name, self.manifest.output.mxnet_name
        return f"{name}/{self.version}/{output}"

    @property
    def version(self) -> str:
        """The version of the model: the start of its weights' digest."""
        return self.weights_sha256[:_VERSION_DIGITS]

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever any file of the model is made anew.

        Raises:
            StoreError: if a record is missing, as while a folder is replaced, or damaged.
        """
        # Without those that are being written, whose names begin with a dot.
        folders = sorted(path.parent for path in self.folder.glob(f"[!.]*/{sealed.RECORD_FILE}"))
        return "\n".join(f"{folder.name} {sealed.read_record(folder)}" for folder in folders)

    @property
    def checkpoint_folder(self) -> Path:
        """The folder with the checkpoint's two files."""
        return self.folder / _CHECKPOINT_FOLDER

    def ir_folder(self, precision: str) -> Path:
        """Return the folder of the IR at a precision, which may not be there yet."""
        return self.folder / f"ir-{precision}"

    def drift_folder(self, precision: str) -> Path:
        """Return the folder of a precision's drift from f32, which may not be there yet."""
        return self.folder / f"drift-{precision}"

    def read_checkpoint(self) -> Checkpoint:
        """Read and verify the checkpoint."""
        return checkpoint.parse(*self.read_checkpoint_files())

    def read_checkpoint_files(self) -> tuple[bytes, bytes]:
        """Return the verified bytes of the symbol and of the parameters."""
        folder = self.checkpoint_folder
        return sealed.read_file(folder, SYMBOL_FILE), sealed.read_file(folder, PARAMS_FILE)

    def read_ir_files(self, precision: str) -> tuple[bytes, bytes]:
        """Return the verified bytes of the IR: its XML and its weights.

        Raises:
            StoreError: if the model was not converted to that precision, or was damaged since.
        """
        folder = self._existing_ir_folder(precision)
        return sealed.read_file(folder, IR_MODEL_FILE), sealed.read_file(folder, IR_WEIGHTS_FILE)

    def read_golden_file(self) -> bytes:
        """Return the verified bytes of the golden embeddings, which the f32 IR comes with.

        Raises:
            StoreError: if the model was not converted, or was damaged since.
        """
        folder = self._existing_ir_folder("f32")
        if not (folder / GOLDEN_FILE).exists():
            raise StoreError(
                f"{folder} has no golden embeddings, an earlier version made it; convert it again "
                f"with 'face-embedding-server models convert {self.manifest.name}'"
            )
        return sealed.read_file(folder, GOLDEN_FILE)

    def _existing_ir_folder(self, precision: str) -> Path:
        folder = self.ir_folder(precision)
        if not folder.exists():
            name = self.manifest.name
            command = f"convert {name}" if precision == "f32" else f"quantize {name} --images DIR"
            raise StoreError(
                f"{name} has no IR at {precision} in the store; make it with "
                f"'face-embedding-server models {command}'"
            )
        return folder


class Store:
    """The models of a machine, under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Return the names of the models that have weights, sorted."""
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"the store {self.root} is a file, not a folder")
        return [name for name in manifest.names() if self._current_file(name).exists()]

    def get(self, name: str) -> StoredModel:
        """Return a model.

        Raises:
            UnknownModelError: if no manifest has that name.
            StoreError: if the store has no weights for it.
        """
        known = manifest.load(name)
        try:
            current = json.loads(self._current_file(name).read_text("utf-8"))
            folder = self.root / name / current["checkpoint"]
        except FileNotFoundError as error:
            raise StoreError(
                f"{name} is not in the store {self.root}; import its weights with "
                f"'face-embedding-server models import {name} PATH_OR_URL', or make a stand-in "
                f"with 'face-embedding-server models synthesize {name}'"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._current_file(name)} is damaged: {error!r}") from error
        return _stored(known, folder)

    def add(
        self,
        known: Manifest,
        symbol_bytes: bytes,
        params_bytes: bytes,
        origin: Origin,
        source: str,
    ) -> StoredModel:
        """Put a checkpoint into the store, beside the one that is in use.

        Returns:
            The model with these weights, to be converted and then to be used; see `use`.

        Raises:
            CheckpointError: if it is malformed or has not the output of the manifest.
            StoreError: if the store cannot be written.
        """
        parsed = checkpoint.parse(symbol_bytes, params_bytes)
        parsed.symbol.index_of(known.output.mxnet_name)
        parsed.symbol.index_of(known.input.name)
        digest = checkpoint.digest(symbol_bytes, params_bytes)
        folder = self.root / known.name / digest[:_FOLDER_DIGITS]

        def fill(pending: Path) -> None:
            (pending / SYMBOL_FILE).write_bytes(symbol_bytes)
            (pending / PARAMS_FILE).write_bytes(params_bytes)

        record = {"weights_sha256": digest, "origin": origin, "source": source}
        sealed.write(folder / _CHECKPOINT_FOLDER, fill, record)
        return _stored(known, folder)

    def use(self, model: StoredModel) -> None:
        """Make weights that were added the ones that `get` returns.

        Raises:
            StoreError: if the store cannot be written.
        """
        text = json.dumps({"checkpoint": model.folder.name}) + "\n"
        sealed.write_text(self._current_file(model.manifest.name), text)

    def _current_file(self, name: str) -> Path:
        return self.root / name / _CURRENT_FILE


def _stored(known: Manifest, folder: Path) -> StoredModel:
    record = sealed.read_record(folder / _CHECKPOINT_FOLDER)
    try:
        origin: Origin = record["origin"]
        if origin not in ORIGIN_NOTES:
            raise KeyError(origin)
        return StoredModel(known, folder, record["weights_sha256"], origin, record["source"])
    except KeyError as error:
        path = folder / _CHECKPOINT_FOLDER / sealed.RECORD_FILE
        raise StoreError(f"{path} is damaged: it lacks or does not know {error}") from error


def default_root() -> Path:
    """Return the store's folder where none is named: in the user's data folder."""
    return platformdirs.user_data_path("face-embedding") / "models"
