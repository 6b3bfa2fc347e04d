"""What a job embeds: the images of a folder, or of the rows of Parquet files, in numbered blocks.

They are listed once, into a file beside the results. From then on block 7 is always the same
images, whoever embeds it, and how often.
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from face_embedding_server.errors import OperatorError
from face_embedding_server.faces.images import IMAGE_SUFFIXES
from on_ray.places import Place

# A row is an image file; or a group of rows in a Parquet file, which is a block by itself.
_LISTED = pa.schema(
    [
        ("file", pa.string()),
        ("size", pa.int64()),
        ("modified_ns", pa.int64()),
        ("row_group", pa.int32()),
        ("first_row", pa.int64()),
        ("rows", pa.int64()),
    ]
)
_DIGEST, _IMAGES, _TERMS = "digest", "images", "terms"
# Rows of a Parquet file that are in memory at a time.
_READ_ROWS = 32
_READ_BYTES = 1 << 20

# The name of an image, and what reads it or raises an `OSError`.
Item: TypeAlias = tuple[str, Callable[[], bytes]]


class InputsError(OperatorError):
    """The inputs cannot be listed; the message says why."""


@dataclass(frozen=True)
class Inputs:
    """Where images are, and how they are read.

    Args:
        uri: a folder of images, or one; with `image_column`, of Parquet files.
        block_images: the images of a block, but for Parquet.
        image_column: of Parquet files the column with the bytes of images; empty for image files.
        name_column: of Parquet files the column that names them; empty for file and row.
        max_bytes: of an image; more than that is not read.
    """

    uri: str
    block_images: int
    image_column: str
    name_column: str
    max_bytes: int

    def write_list(self, file: pa.NativeFile, terms: str) -> None:
        """List the inputs into a Parquet file, with a row group for each block.

        Args:
            file: to write to.
            terms: kept with the list: what is to be done with the inputs.

        Raises:
            InputsError: if there are none, or they cannot be listed.
        """
        digest, images = hashlib.sha256(), 0
        with pq.ParquetWriter(file, _LISTED) as writer:
            for rows in self._blocks():
                images += sum(row.get("rows", 1) for row in rows)
                digest.update(repr(rows).encode())
                writer.write_table(pa.Table.from_pylist(rows, _LISTED))
            if not images:
                kind = "Parquet files" if self.image_column else "images"
                raise InputsError(f"there are no {kind} in {self.uri}")
            writer.add_key_value_metadata(
                {_DIGEST: digest.hexdigest(), _IMAGES: str(images), _TERMS: terms}
            )

    def _blocks(self) -> Iterator[list[dict[str, Any]]]:
        place = Place.of(self.uri)
        suffixes = (".parquet",) if self.image_column else IMAGE_SUFFIXES
        try:
            files = _files(place, place.info(), suffixes)
            if self.image_column:
                for file in files:
                    yield from ([row] for row in self._row_groups(place.filesystem, file))
            else:
                yield from iter(lambda: list(itertools.islice(files, self.block_images)), [])
        except (OSError, pa.ArrowException) as error:
            raise InputsError(f"{self.uri} cannot be listed: {error}") from error

    def _row_groups(
        self, filesystem: fs.FileSystem, file: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        with pq.ParquetFile(filesystem.open_input_file(file["file"])) as parquet:
            known = parquet.schema_arrow.names
            for column in self._columns:
                if column not in known:
                    raise InputsError(
                        f"{file['file']} has no column '{column}'; it has {', '.join(known)}"
                    )
            first = 0
            for number in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(number).num_rows
                yield file | {"row_group": number, "first_row": first, "rows": rows}
                first += rows

    @property
    def _columns(self) -> list[str]:
        return [column for column in (self.image_column, self.name_column) if column]

    def items(self, block: pa.Table) -> Iterator[Item]:
        """Yield the images of a block of the list."""
        filesystem = Place.of(self.uri).filesystem
        for row in block.to_pylist():
            if self.image_column:
                yield from self._rows(filesystem, row)
            else:
                yield row["file"], functools.partial(self._read, filesystem, row["file"])

    def _read(self, filesystem: fs.FileSystem, file: str) -> bytes:
        with filesystem.open_input_stream(file) as stream:
            data: bytes = stream.read(self.max_bytes + 1)
            return data

    def _rows(self, filesystem: fs.FileSystem, group: dict[str, Any]) -> Iterator[Item]:
        number = itertools.count(group["first_row"])
        # Unasked, it reads all of a row group at once.
        with pq.ParquetFile(
            filesystem.open_input_file(group["file"]), buffer_size=_READ_BYTES, pre_buffer=False
        ) as parquet:
            for batch in parquet.iter_batches(_READ_ROWS, [group["row_group"]], self._columns):
                for image, name in zip(batch[0], batch[-1], strict=True):
                    at = next(number)
                    known = str(name) if self.name_column else f"{group['file']}#{at}"
                    yield known, functools.partial(_bytes_of, image)


def _bytes_of(image: pa.Scalar) -> bytes:
    """Return the bytes of a value, or of its field `bytes`, as Hugging Face has images."""
    if isinstance(image, pa.StructScalar) and image.is_valid:
        image = image["bytes"]
    data = image.as_py()
    if isinstance(data, bytes):
        return data
    raise OSError(f"a {image.type} is no image" if image.is_valid else "there is no image")


def _files(
    place: Place, info: fs.FileInfo, suffixes: tuple[str, ...], within: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """Yield the files at a place, a folder at a time, so that few names are in memory."""
    if info.type == fs.FileType.NotFound:
        raise InputsError(f"{info.path} does not exist")
    if info.type == fs.FileType.Directory:
        if isinstance(place.filesystem, fs.LocalFileSystem):
            folder = os.path.realpath(info.path)
            if folder in within:
                return  # A link leads back to it, and on and on.
            within |= {folder}
        for each in Place(place.filesystem, info.path).children():
            if not each.base_name.startswith("."):
                yield from _files(place, each, suffixes, within)
    elif info.path.lower().endswith(suffixes):
        yield {"file": info.path, "size": info.size, "modified_ns": info.mtime_ns}


class InputList:
    """A list of inputs that was written."""

    def __init__(self, place: Place) -> None:
        self._file = pq.ParquetFile(place.filesystem.open_input_file(place.path))
        stated = {
            key.decode(): value.decode() for key, value in self._file.metadata.metadata.items()
        }
        self.images = int(stated[_IMAGES])
        self.digest, self.terms = stated[_DIGEST], stated[_TERMS]
        self.blocks: int = self._file.num_row_groups

    def block(self, number: int) -> pa.Table:
        """Return the rows of a block."""
        return self._file.read_row_group(number)
