"""The parts of a version, its weights and what was made of them, bound to one another.

`parts.json` in a version's folder names the model and the version, and has the SHA-256 of each
part's record, which has those of the part's files. So a part of another model, version or precision
is told from the one that was made here, whatever its own record says.

A version changes as a whole: a folder with the new parts, with links to the files of the others and
with a `parts.json` of all changes places with the old one.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from face_embedding_models import regular_files
from face_embedding_models.errors import StoreError
from face_embedding_models.store import records, sealed
from face_embedding_models.texts import clipped

PARTS_FILE = "parts.json"
CHECKPOINT_FOLDER = "checkpoint"


@dataclass(frozen=True)
class _Parts:
    model: str
    version: str
    parts: dict[str, records.Sha256]


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[Path]:
    """Have a folder to make parts of a version in, which take their place when the block ends.

    Raises:
        StoreError: if the store cannot be written, or the version was removed meanwhile.
    """
    with sealed.pending_folder(folder.parent) as pending:
        yield pending
        place(pending, folder)


def place(pending: Path, folder: Path) -> None:
    """Put parts to the others of a version; with its weights among them, make the version.

    Parts that were not made by `place`, or that were changed since, do not stay; an earlier
    version's weights do, as what is new was made of them.

    Args:
        pending: a folder with sealed parts, in the same store. It is not there afterwards, or holds
            what was replaced.
        folder: the version's folder, `STORE/MODEL/VERSION`.

    Raises:
        StoreError: if the store cannot be written, or there are no weights, or changed ones.
    """
    try:
        with sealed.locked(folder.parents[1]):
            folder.parent.mkdir(exist_ok=True)
            if folder.exists():
                _keep(folder, pending)
            made = _digests(pending)
            if CHECKPOINT_FOLDER not in made:
                raise StoreError(f"{folder} has no weights any more; import the model again")
            known = {"model": folder.parent.name, "version": folder.name, "parts": made}
            sealed.write_text(pending / PARTS_FILE, records.to_text(known))
            sealed.place(pending, folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error}") from error


def check(folder: Path, model: str, version: str, part: str, remedy: str) -> None:
    """Check that a part is the one that was made for a version of a model.

    Args:
        folder: the version's folder.
        model: the model's name.
        version: the version.
        part: the name of the part's folder.
        remedy: what mends that part, for the error.

    Raises:
        StoreError: if it is not, or that cannot be told, as of what an earlier program made.
    """
    path = folder / PARTS_FILE
    if not path.exists():
        raise StoreError(
            f"{folder / part} is not bound to its weights, an earlier version made it; convert the "
            f"model again with 'face-embedding-server models convert {model}'"
        )
    known = _read(folder)
    if (known.model, known.version) != (model, version):
        raise StoreError(
            f"{path} belongs to {clipped(known.model)} {clipped(known.version)}, and not to "
            f"{model} {version}; import the model again"
        )
    if known.parts.get(part) != _digest(folder / part):
        raise StoreError(f"{folder / part} is not what was made for {model} {version}; {remedy}")


def _keep(folder: Path, pending: Path) -> None:
    """Link the parts of a version that are not replaced into the folder that takes its place."""
    with_weights = (pending / CHECKPOINT_FOLDER).exists()
    bound = None
    if (folder / PARTS_FILE).exists():
        try:
            bound = _read(folder).parts
        except StoreError:
            if not with_weights:
                raise
    for name, digest in _digests(folder).items():
        if (pending / name).exists():
            continue
        if bound is None or bound.get(name) != digest:
            if name != CHECKPOINT_FOLDER:
                continue
            if bound is not None:
                raise StoreError(
                    f"{folder / name} was changed since it was written; import the model again"
                )
        shutil.copytree(folder / name, pending / name, copy_function=_link)
        sealed.flush(pending / name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # Some file systems have no links, and none has any number of them.
        shutil.copy(source, target)


def _digests(folder: Path) -> dict[str, str]:
    """Return the digests of the records of a folder's parts, by their names."""
    # Without those that are being written, whose names begin with a dot.
    records = folder.glob(f"[!.]*/{sealed.RECORD_FILE}")
    return {path.parent.name: _digest(path.parent) for path in sorted(records)}


def _digest(part: Path) -> str:
    path = part / sealed.RECORD_FILE
    try:
        return hashlib.sha256(regular_files.read(path)).hexdigest()
    except OSError as error:
        raise StoreError(f"{path} is missing or damaged: {error}") from error


def _read(folder: Path) -> _Parts:
    path, remedy = folder / PARTS_FILE, "import the model again"
    return records.checked(_Parts, records.read(path, remedy), path, remedy)
