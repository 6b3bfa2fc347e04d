"""What a source of weights holds: a folder, a zip archive, or the files themselves."""

import lzma
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from face_embedding_models.errors import ImportRefusedError
from face_embedding_models.formats import PARTS, Part
from face_embedding_models.manifest import AnyManifest

MAX_FILE_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 1 << 30
MAX_ARCHIVE_ENTRIES = 1000
# What zipfile raises for what it cannot read; its documentation has the first one only.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class LocalFile:
    """A file of a source: where it is, what it is called, and how to show where it came from."""

    path: Path
    name: str
    shown: str


def is_archive(path: Path) -> bool:
    """Tell whether a file is a zip archive, by its beginning."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def read_folder(known: AnyManifest, folder: Path) -> dict[str, bytes]:
    """Read the weights in a folder; see `read_files`."""
    try:
        inside = [LocalFile(path, path.name, str(path)) for path in sorted(folder.iterdir())]
    except OSError as error:
        raise ImportRefusedError(f"{folder} cannot be read: {error}") from error
    return read_files(known, inside, str(folder))


def read_files(known: AnyManifest, files: Sequence[LocalFile], source: str) -> dict[str, bytes]:
    """Read the weights among files.

    Returns:
        Their bytes by the names of `formats.PARTS`.

    Raises:
        ImportRefusedError: if a file that the format has is missing, unreadable, too large, or
            cannot be told from another one.
    """
    by_name = {file.name: file.path for file in files}
    found = {}
    for part in PARTS[known.format]:
        path = by_name[_choose(known, part, list(by_name), source)]
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImportRefusedError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
            found[part.name] = path.read_bytes()
        except OSError as error:
            raise ImportRefusedError(f"{path} cannot be read: {error}") from error
    return found


def read_archive(known: AnyManifest, path: Path, source: str) -> dict[str, bytes]:
    """Read the weights in a zip archive; see `read_files`.

    Raises:
        ImportRefusedError: also if the archive is damaged, or tries anything but to hold a few
            plain files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, source)
            names = [entry.filename for entry in entries if not entry.is_dir()]
            return {
                part.name: archive.read(_choose(known, part, names, source))
                for part in PARTS[known.format]
            }
    except _UNREADABLE as error:
        raise ImportRefusedError(f"{source} is not a readable zip archive: {error}") from error


def _choose(known: AnyManifest, part: Part, names: Sequence[str], source: str) -> str:
    """Return which file is a part of the weights: the one that the manifest names, or the only one.

    An archive may hold other networks too.
    """
    expected = {file.file for file in known.files}
    candidates = [name for name in names if name.endswith(part.suffix)]
    named = [name for name in candidates if PurePosixPath(name).name in expected]
    found = named or candidates
    if len(found) != 1:
        listed = f": {', '.join(found[:5])}" if found else ""
        raise ImportRefusedError(
            f"{source} holds {len(found)} files *{part.suffix}, not one{listed}"
        )
    return found[0]


def _check_entries(entries: list[zipfile.ZipInfo], source: str) -> None:
    """Refuse an archive that tries anything but to hold a few plain files."""
    if len(entries) > MAX_ARCHIVE_ENTRIES:
        raise ImportRefusedError(
            f"{source} has {len(entries)} entries, at most {MAX_ARCHIVE_ENTRIES}"
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES:
        raise ImportRefusedError(
            f"{source} would unpack to {unpacked:,} bytes, at most {MAX_UNPACKED_BYTES:,} are "
            f"allowed"
        )
    for entry in entries:
        path_inside = PurePosixPath(entry.filename.replace("\\", "/"))
        parts = path_inside.parts or ("..",)
        if path_inside.is_absolute() or ".." in parts or ":" in parts[0]:
            raise ImportRefusedError(f"{source}: the entry '{entry.filename}' leaves the folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ImportRefusedError(f"{source}: the entry '{entry.filename}' is a link")
    for name, count in Counter(entry.filename for entry in entries).items():
        if count > 1:
            raise ImportRefusedError(f"{source} holds the entry '{name}' {count} times")
