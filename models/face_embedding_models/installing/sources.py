"""What a source of weights holds: a folder, a zip archive, or the files themselves."""

import io
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from face_embedding_models import bounds, regular_files
from face_embedding_models.errors import ImportRefusedError
from face_embedding_models.formats import PARTS, SYMBOL_FILE, Part
from face_embedding_models.manifest import AnyManifest

MAX_FILE_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 1 << 30
MAX_ARCHIVE_ENTRIES = 1000
# Of an archive's list of entries, which is read at once. Those of so many have 100 kB.
MAX_DIRECTORY_BYTES = 1 << 20
# Weights pack to nine tenths, and made-up ones to a half. Below the size anything goes.
MAX_RATIO = 100
RATIO_FREE_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
# What zipfile raises for what it cannot read; its documentation has the first one only.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
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
    try:
        with regular_files.open_to_read(path) as file:
            return file.read(2) == b"PK"
    except OSError as error:
        raise ImportRefusedError(f"{path} cannot be read: {error}") from error


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
            found[part.name] = regular_files.read(path, _most_bytes(part))
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
        with _Pieces(regular_files.open_to_read(path)) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, source)
            names = [entry.filename for entry in entries if not entry.is_dir()]
            return {
                part.name: _unpack(
                    archive, _choose(known, part, names, source), _most_bytes(part), source
                )
                for part in PARTS[known.format]
            }
    except _UNREADABLE as error:
        raise ImportRefusedError(f"{source} is not a readable zip archive: {error}") from error


class _Pieces(io.BufferedReader):
    """A file that is never read in large pieces.

    What zipfile reads at once is the list of entries, which can be as long as the file, and makes
    objects of it that are much larger.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(cast("io.RawIOBase", file))

    def read(self, size: int | None = -1, /) -> bytes:
        # Without a size it is the end of the file that is read, which may be a comment.
        piece = super().read(MAX_DIRECTORY_BYTES + 1 if size is None or size < 0 else size)
        if len(piece) > MAX_DIRECTORY_BYTES:
            raise ValueError(f"its list of entries has more than {MAX_DIRECTORY_BYTES:,} bytes")
        return piece


def _unpack(archive: zipfile.ZipFile, name: str, most: int, source: str) -> bytes:
    """Unpack an entry, whatever the archive says of its size."""
    entry, unpacked = archive.getinfo(name), io.BytesIO()
    most = min(most, max(RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size))
    with archive.open(entry) as packed:
        while chunk := packed.read(_CHUNK_BYTES):
            if unpacked.tell() + len(chunk) > most:
                raise ImportRefusedError(
                    f"{source}: the entry '{name:.200}' unpacks to more than {most:,} bytes, from "
                    f"{entry.compress_size:,}"
                )
            unpacked.write(chunk)
    return unpacked.getvalue()  # Without a copy, which a bytearray would need.


def _most_bytes(part: Part) -> int:
    """Return the most bytes of a file: all but those with the weights are small."""
    return bounds.MAX_SYMBOL_BYTES if part.name == SYMBOL_FILE else MAX_FILE_BYTES


def _choose(known: AnyManifest, part: Part, names: Sequence[str], source: str) -> str:
    """Return which file is a part of the weights: the one that the manifest names, or the only one.

    An archive may hold other networks too.
    """
    expected = {file.file for file in known.files}
    candidates = [name for name in names if name.endswith(part.suffix)]
    named = [name for name in candidates if PurePosixPath(name).name in expected]
    found = named or candidates
    if len(found) != 1:
        listed = f": {', '.join(name[:100] for name in found[:5])}" if found else ""
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
            raise ImportRefusedError(
                f"{source}: the entry '{entry.filename:.200}' leaves the folder"
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Others ask for as much memory as they like.
            raise ImportRefusedError(
                f"{source}: the entry '{entry.filename:.200}' is packed in another way than by "
                f"deflating; pack it again"
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ImportRefusedError(f"{source}: the entry '{entry.filename:.200}' is a link")
    for name, count in Counter(entry.filename for entry in entries).items():
        if count > 1:
            raise ImportRefusedError(f"{source} holds the entry '{name:.200}' {count} times")
