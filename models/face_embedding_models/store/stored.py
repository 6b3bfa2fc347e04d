"""A version of a model in the store: its files, and where its weights come from."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from face_embedding_models import formats, manifest
from face_embedding_models.checking import problems
from face_embedding_models.errors import StoreError
from face_embedding_models.formats import ONNX_FILE, PARAMS_FILE, SYMBOL_FILE
from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import checkpoint
from face_embedding_models.mxnet.checkpoint import Checkpoint
from face_embedding_models.store import parts, records, sealed
from face_embedding_models.store.parts import CHECKPOINT_FOLDER
from face_embedding_models.texts import clipped, shown

Origin = Literal["published", "corroborated", "unverified", "synthetic"]

ORIGIN_NOTES: dict[Origin, str] = {
    "published": "the published weights, verified by size and SHA-256",
    "corroborated": "weights verified by a SHA-256 that independent copies agree on, and that the "
    "publisher does not state",
    "unverified": "UNVERIFIED weights: they were not proven to be the published ones",
    "synthetic": "SYNTHETIC weights: a stand-in whose embeddings mean nothing for recognition",
}

IR_MODEL_FILE = "model.xml"
IR_WEIGHTS_FILE = "model.bin"
GOLDEN_FILE = "golden.npy"
MANIFEST_FILE = "manifest.json"
VERSION_DIGITS = 16


@dataclass(frozen=True)
class Acceptance:
    """Which terms somebody accepted, and when (ISO 8601)."""

    terms: str
    stated_at: str | None
    at: str


@dataclass(frozen=True)
class Provenance:
    """Where weights come from.

    Args:
        origin: what is known of them.
        source: the name of the file, folder or generator that they came from.
        acceptance: of their terms; None where nobody was asked.
    """

    origin: Origin
    source: str
    acceptance: Acceptance | None = None


@dataclass(frozen=True)
class _Record:
    """What is remembered of weights; earlier versions left out what the folders' names say."""

    weights_sha256: records.Sha256
    origin: Origin
    source: str
    model: str | None = None
    version: str | None = None
    acceptance: Acceptance | None = None


@dataclass(frozen=True)
class StoredWeights:
    """Weights in the store, of a recognition network or a detector.

    Args:
        folder: where their files are.
        weights_sha256: their digest, see `formats.digest`.
        version: what tells them from other versions of the same, see `version_of`.
        provenance: where they come from.
    """

    folder: Path
    weights_sha256: str
    version: str
    provenance: Provenance

    @property
    def origin(self) -> Origin:
        """What is known of the weights."""
        return self.provenance.origin

    @property
    def source(self) -> str:
        """The name of the file, folder or generator that the weights came from."""
        return self.provenance.source

    @property
    def checkpoint_folder(self) -> Path:
        """The folder with the weights as they came."""
        return self.folder / CHECKPOINT_FOLDER

    def read_onnx_file(self) -> bytes:
        """Return the verified bytes of an ONNX file."""
        return sealed.read_file(self.checkpoint_folder, ONNX_FILE)


@dataclass(frozen=True)
class StoredModel(StoredWeights):
    """A recognition network with weights, and what is known of it."""

    manifest: Manifest

    @property
    def embedding_space(self) -> str:
        """The identifier of the space that the model's embeddings live in.

        It names the model, its version and its output, and not the engine that computes it:
        parity makes embeddings of all engines comparable.
        """
        output = self.manifest.output
        return f"{self.manifest.name}/{self.version}/{output.name or output.ir_name}"

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever any file of the model is made anew.

        Raises:
            StoreError: if a record is missing, as while a folder is replaced, or damaged.
        """
        # Without those that are being written, whose names begin with a dot.
        folders = sorted(path.parent for path in self.folder.glob(f"[!.]*/{sealed.RECORD_FILE}"))
        return "\n".join(f"{folder.name} {sealed.read_record(folder)}" for folder in folders)

    def identity(self, precision: str) -> dict[str, str]:
        """Return what an IR at a precision is made of, which its record has to say of it."""
        known = self.manifest
        # Beside the weights it depends on how the manifest says that they are fed and read.
        output = {"name": known.output.name, "size": known.output.size}
        fed = json.dumps({"input": asdict(known.input), "output": output}, sort_keys=True)
        return {
            "model": known.name,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
            "precision": precision,
            "network_sha256": hashlib.sha256(fed.encode()).hexdigest(),
        }

    def check_weights(self) -> None:
        """Check that the weights are those that the model is described by.

        Raises:
            StoreError: if they are not.
        """
        remedy, folder = "import the model again", self.checkpoint_folder
        self._check_part(CHECKPOINT_FOLDER, remedy)
        state = hashlib.sha256()
        for part in formats.PARTS[self.manifest.format]:
            state.update(sealed.read_file(folder, part.name))
        if (digest := state.hexdigest()) != self.weights_sha256:
            raise StoreError(
                f"{folder} holds weights of the SHA-256 {digest}, and its record says "
                f"{self.weights_sha256}; {remedy}"
            )
        if self.version not in (version_of(self.manifest, digest), digest[:VERSION_DIGITS]):
            raise StoreError(f"{folder} holds weights of another version; {remedy}")

    def _check_part(self, part: str, remedy: str) -> None:
        parts.check(self.folder, self.manifest.name, self.version, part, remedy)

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
        """Return the verified bytes of an MXNet checkpoint: of the symbol and of the parameters."""
        folder = self.checkpoint_folder
        return sealed.read_file(folder, SYMBOL_FILE), sealed.read_file(folder, PARAMS_FILE)

    def read_ir_files(self, precision: str) -> tuple[bytes, bytes]:
        """Return the verified bytes of the IR: its XML and its weights.

        Raises:
            StoreError: if the model was not converted to that precision, or was damaged since.
        """
        folder = self._bound_ir_folder(precision)
        return sealed.read_file(folder, IR_MODEL_FILE), sealed.read_file(folder, IR_WEIGHTS_FILE)

    def read_golden_file(self) -> bytes:
        """Return the verified bytes of the golden embeddings, which the f32 IR comes with.

        Raises:
            StoreError: if the model was not converted, or was damaged since.
        """
        return sealed.read_file(self._bound_ir_folder("f32"), GOLDEN_FILE)

    def _bound_ir_folder(self, precision: str) -> Path:
        """Return the folder of an IR that was made of these weights, for this manifest."""
        folder, name = self.ir_folder(precision), self.manifest.name
        command = f"convert {name}" if precision == "f32" else f"quantize {name} --images DIR"
        remedy = f"make it with 'face-embedding-server models {command}'"
        if not folder.exists():
            raise StoreError(f"{name} has no IR at {precision} in the store; {remedy}")
        self._check_part(folder.name, remedy)
        record = sealed.read_record(folder)
        for key, expected in self.identity(precision).items():
            if record.get(key) != expected:
                raise StoreError(
                    f"{folder} was made for the {key} {shown(record.get(key))}, and {name} has "
                    f"{expected}; {remedy}"
                )
        return folder


def version_of(known: Manifest, weights_sha256: str) -> str:
    """Return the version of a model: 16 digits that change with what its embeddings depend on.

    For an MXNet checkpoint they are the first of its weights' SHA-256. What an ONNX file is fed
    with is a matter of its manifest, so there they are the first of the SHA-256 of a text: the
    weights' SHA-256, the channel order, mean and scale of the input, and the output's name.
    """
    if known.format == "mxnet":
        return weights_sha256[:VERSION_DIGITS]
    given = known.input
    text = f"{weights_sha256} {given.channel_order} {given.mean!r} {given.scale!r} "
    return hashlib.sha256((text + known.output.name).encode()).hexdigest()[:VERSION_DIGITS]


def read(name: str, folder: Path) -> StoredModel:
    """Read a version of a model from its folder.

    Raises:
        StoreError: if a record is missing or damaged, or of another model.
    """
    return StoredModel(**vars(read_weights(name, folder)), manifest=_manifest_of(name, folder))


def read_weights(name: str, folder: Path) -> StoredWeights:
    """Read weights of any kind from their folder.

    Raises:
        StoreError: if their record is missing or damaged, or of another model.
    """
    path = folder / CHECKPOINT_FOLDER / sealed.RECORD_FILE
    given = sealed.read_record(path.parent)
    record = records.checked(_Record, given, path, "import the model again")
    digest, model = record.weights_sha256, record.model or name
    version = record.version or digest[:VERSION_DIGITS]
    # What is being added has no folder of its own yet.
    if model != name or (folder.parent.name == name and folder.name != version):
        raise StoreError(
            f"{path} is of {clipped(model)} {clipped(version)}, and not of {name} {folder.name}; "
            f"import the model again"
        )
    provenance = Provenance(record.origin, record.source, record.acceptance)
    return StoredWeights(folder, digest, version, provenance)


def _manifest_of(name: str, folder: Path) -> Manifest:
    path = folder / CHECKPOINT_FOLDER / MANIFEST_FILE
    if name in manifest.names():
        if path.exists():
            raise StoreError(
                f"{path} is a manifest of your own, and by now a model called {name} is shipped; "
                f"remove it, and import it under another name"
            )
        return manifest.load(name)
    try:
        return manifest.from_json(sealed.read_file(path.parent, MANIFEST_FILE).decode())
    except (ValidationError, UnicodeDecodeError) as error:
        wrong = problems(error) if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"{path} is damaged, or has what a later version wrote: {wrong}; import the model again"
        ) from error
