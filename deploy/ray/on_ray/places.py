"""Files and folders, wherever they are, and how a file is written as a whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import fsspec
import pyarrow as pa
from pyarrow import fs

from face_embedding_server.errors import OperatorError


class PlaceError(OperatorError):
    """A place cannot be reached; the message says which and why."""


@dataclass(frozen=True)
class Place:
    """A file or a folder in a filesystem."""

    filesystem: fs.FileSystem
    path: str

    @classmethod
    def of(cls, text: str) -> "Place":
        """Return the place of an absolute path, or of a URI that pyarrow or else fsspec knows.

        Raises:
            PlaceError: if neither does.
        """
        if "://" not in text:
            return cls(fs.LocalFileSystem(), text)
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
            return cls(filesystem, path.rstrip("/"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
        try:
            foreign, path = fsspec.core.url_to_fs(text)
        except (ValueError, ImportError, OSError) as error:
            raise PlaceError(f"{text} cannot be reached: {error}") from error
        return cls(fs.PyFileSystem(fs.FSSpecHandler(foreign)), path.rstrip("/"))

    def __truediv__(self, name: str) -> "Place":
        return Place(self.filesystem, f"{self.path}/{name}")

    def info(self) -> fs.FileInfo:
        """Return what is there."""
        found: fs.FileInfo = self.filesystem.get_file_info(self.path)
        return found

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def exists(self) -> bool:
        """Return whether anything is there."""
        return bool(self.info().type != fs.FileType.NotFound)

    def children(self) -> list[fs.FileInfo]:
        """Return what is in a folder, by name."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path))
        return sorted(found, key=lambda each: each.path)

    def names(self) -> list[str]:
        """Return the names of what is in a folder."""
        return [each.base_name for each in self.children()]


@contextlib.contextmanager
def written(place: Place, pending: Place) -> Iterator[pa.NativeFile]:
    """Give a file to write that takes its place when all of it is on disk.

    Whoever writes the same file meanwhile takes its place as well, and either is whole. One that is
    not finished stays in the folder `pending`, under its name with that of the process behind it.
    """
    unfinished = pending / f"{place.name}.{os.getpid()}.{secrets.token_hex(8)}"
    with place.filesystem.open_output_stream(unfinished.path) as file:
        yield file
    try:
        if isinstance(place.filesystem, fs.LocalFileSystem):
            _flush(unfinished.path)
        place.filesystem.move(unfinished.path, place.path)
    except FileNotFoundError:
        # Another run ended meanwhile, and removed what was not finished.
        if not place.exists():
            raise


def _flush(path: str) -> None:
    """Have a file written to disk: its new name may be there before it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
