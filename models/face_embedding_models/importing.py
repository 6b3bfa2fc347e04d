"""Bringing published checkpoints into the store.

A source is a folder with a checkpoint, a zip archive of one, or the address of such an archive.
Only an archive of the size and SHA-256 that the manifest names counts as published.
"""

import hashlib
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

import requests
from tqdm import tqdm

from face_embedding_models.errors import ImportRefusedError
from face_embedding_models.manifest import Manifest
from face_embedding_models.store import Origin, Store, StoredModel

MAX_UNPACKED_BYTES = 1 << 30
MAX_ARCHIVE_BYTES = 1 << 30
MAX_ARCHIVE_ENTRIES = 1000
_SYMBOL_SUFFIX = "-symbol.json"
_PARAMS_SUFFIX = "-0000.params"
_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 20


def import_model(
    store: Store, known: Manifest, source: str, *, allow_unverified: bool = False
) -> StoredModel:
    """Put a model's weights into the store.

    Args:
        store: where to.
        known: the model's manifest.
        source: the path of a folder or of a zip archive, or an http(s) address of an archive.
        allow_unverified: take weights that are not proven to be the published ones. They are
            marked as unverified wherever the model is described.

    Raises:
        ImportRefusedError: if the source cannot be read, is unsafe, or is not the published one.
        CheckpointError: if what it holds is not a checkpoint of the model.
    """
    if source.startswith(("http://", "https://")):
        # Without the query, which may hold a secret.
        address = source.partition("?")[0]
        with tempfile.TemporaryDirectory(prefix="face-embedding-") as folder:
            archive = Path(folder) / "archive.zip"
            limit = MAX_ARCHIVE_BYTES if allow_unverified else known.source.size
            _download(source, archive, limit or MAX_ARCHIVE_BYTES)
            return _import_path(store, known, archive, address, allow_unverified)
    return _import_path(store, known, Path(source), source, allow_unverified)


def _import_path(
    store: Store, known: Manifest, path: Path, source: str, allow_unverified: bool
) -> StoredModel:
    origin: Origin = "unverified"
    if path.is_dir():
        difference = "it is a folder, and only the published archive can be verified"
        files = _files_of_folder(path)
    elif path.is_file():
        difference = _difference(path, known)
        origin = "unverified" if difference else "published"
        files = _files_of_archive(path) if allow_unverified or not difference else {}
    else:
        raise ImportRefusedError(
            f"{source} is neither a folder, nor a file, nor an http(s) address"
        )
    if difference and not allow_unverified:
        raise ImportRefusedError(
            f"{source} is not the published {known.source.file}: {difference}. If you trust it "
            f"all the same, add --allow-unverified; the model is then marked as unverified"
        )
    symbol_bytes = _only_file(files, _SYMBOL_SUFFIX, source)
    params_bytes = _only_file(files, _PARAMS_SUFFIX, source)
    return store.add(known, symbol_bytes, params_bytes, origin, PurePosixPath(source).name)


def _difference(archive: Path, known: Manifest) -> str:
    """Return how an archive differs from the published one, or nothing."""
    size = archive.stat().st_size
    if known.source.size is not None and size != known.source.size:
        return f"it has {size:,} bytes, not {known.source.size:,}"
    digest = _sha256(archive)
    if digest != known.source.sha256:
        return f"its SHA-256 is {digest}, not {known.source.sha256}"
    return ""


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()


def _files_of_folder(folder: Path) -> dict[str, bytes]:
    candidates = [
        path
        for path in sorted(folder.iterdir())
        if path.name.endswith((_SYMBOL_SUFFIX, _PARAMS_SUFFIX))
    ]
    try:
        return {path.name: path.read_bytes() for path in candidates}
    except OSError as error:
        raise ImportRefusedError(f"{folder} cannot be read: {error}") from error


def _files_of_archive(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, path)
            return {
                entry.filename: archive.read(entry)
                for entry in entries
                if entry.filename.endswith((_SYMBOL_SUFFIX, _PARAMS_SUFFIX))
            }
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error) as error:
        raise ImportRefusedError(f"{path} is not a readable zip archive: {error}") from error


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse an archive that tries anything but to hold a few plain files."""
    if len(entries) > MAX_ARCHIVE_ENTRIES:
        raise ImportRefusedError(
            f"{path} has {len(entries)} entries, at most {MAX_ARCHIVE_ENTRIES}"
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES:
        raise ImportRefusedError(
            f"{path} would unpack to {unpacked:,} bytes, at most {MAX_UNPACKED_BYTES:,} are allowed"
        )
    for entry in entries:
        path_inside = PurePosixPath(entry.filename.replace("\\", "/"))
        parts = path_inside.parts or ("..",)
        if path_inside.is_absolute() or ".." in parts or ":" in parts[0]:
            raise ImportRefusedError(f"{path}: the entry '{entry.filename}' leaves the folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ImportRefusedError(f"{path}: the entry '{entry.filename}' is a link")
    for name, count in Counter(entry.filename for entry in entries).items():
        if count > 1:
            raise ImportRefusedError(f"{path} holds the entry '{name}' {count} times")


def _only_file(files: dict[str, bytes], suffix: str, source: str) -> bytes:
    found = [name for name in files if name.endswith(suffix)]
    if len(found) != 1:
        names = f": {', '.join(found)}" if found else ""
        raise ImportRefusedError(f"{source} holds {len(found)} files *{suffix}, not one{names}")
    return files[found[0]]


def _download(url: str, target: Path, limit: int) -> None:
    """Fetch an archive; nothing is kept if it fails."""
    name = url.partition("?")[0]
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT_S) as response:
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            with (
                target.open("wb") as file,
                tqdm(total=total, unit="B", unit_scale=True, desc=name) as bar,
            ):
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))
                    if file.tell() > limit:
                        raise ImportRefusedError(f"{name} has more than {limit:,} bytes")
    except (requests.RequestException, OSError) as error:
        raise ImportRefusedError(
            f"{name} could not be downloaded: {error}. Nothing was kept; try again, or download it "
            f"yourself and import the file"
        ) from error
