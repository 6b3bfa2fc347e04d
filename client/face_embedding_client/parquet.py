"""Embeddings in Parquet files: the schema, for all that write such files, and how they are read.

A row is one face, or one file without an embedding:

| Column | Type | What |
|---|---|---|
| `file` | string | the file, or what else the image is known by |
| `face` | int32 | the number of the face among those embedded of its file, from 0 |
| `embedding` | list<float32> | all of one size, and of length 1 |
| `norm` | float32 | the L2 norm before normalisation |
| `model_version`, `precision` | string | what made the embedding |
| `faces_found` | int32 | how many faces the photograph has; 0 if none were looked for |
| `warnings` | list of `reason`, `value`, `limit` | what makes the embedding less trustworthy |
| `detection` | `box`, `landmarks`, `score`, `turned_degrees` | the face, if the server found it |
| `error_reason`, `error_message` | string | why there is no embedding |

A face has no error, and a file without an embedding has nothing else. The metadata of the schema
say what all embeddings have in common, under the keys below. Their size is there too, and not in
the type: pyarrow up to 24 reads no list of a fixed size that is null.

Needs pyarrow, the extra `parquet`; so this is imported where such files are wanted.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

# The keys of the metadata: the embedding space of all of them; the numbers of each; the model, and
# its version when the file was written.
SPACE = b"face_embedding.space"
SIZE = b"face_embedding.size"
MODEL = b"face_embedding.model"
MODEL_VERSION = b"face_embedding.model_version"

# Of a part of the file that is written and read at once: 16 MiB of embeddings of size 512.
GROUP_ROWS = 8192

# Those that repeat themselves.
DICTIONARY_COLUMNS = ["model_version", "precision", "error_reason"]

_POINT = pa.struct({"x": pa.float32(), "y": pa.float32()})
_BOX = pa.struct({side: pa.float32() for side in ("left", "top", "width", "height")})
_LANDMARKS = pa.struct(
    dict.fromkeys(("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"), _POINT)
)
_DETECTION = pa.struct(
    {"box": _BOX, "landmarks": _LANDMARKS, "score": pa.float32(), "turned_degrees": pa.int32()}
)
_WARNING = pa.struct({"reason": pa.string(), "value": pa.float32(), "limit": pa.float32()})


class NoEmbeddingsError(ValueError):
    """The file is not one of embeddings with their space."""


class OtherSpaceError(ValueError):
    """Its embeddings are of another space, and cannot be compared."""


def schema(size: int, *, space: str, model: str, model_version: str = "") -> pa.Schema:
    """Return the schema of a file of embeddings.

    Args:
        size: of an embedding.
        space: the embedding space of all of them.
        model: the name of the model.
        model_version: its version.
    """
    fields = [
        pa.field("file", pa.string(), nullable=False),
        ("face", pa.int32()),
        ("embedding", pa.list_(pa.float32())),
        ("norm", pa.float32()),
        ("model_version", pa.string()),
        ("precision", pa.string()),
        ("faces_found", pa.int32()),
        ("warnings", pa.list_(_WARNING)),
        ("detection", _DETECTION),
        ("error_reason", pa.string()),
        ("error_message", pa.string()),
    ]
    facts = {SPACE: space, SIZE: str(size), MODEL: model, MODEL_VERSION: model_version}
    return pa.schema(fields, facts)


def of_faces(of: pa.Schema) -> pa.Schema:
    """Return the schema of rows that all have an embedding, which is of a fixed size there."""
    size = int(of.metadata[SIZE])
    field = pa.field("embedding", pa.list_(pa.float32(), size))
    return of.set(of.get_field_index("embedding"), field)


def record_batch(rows: Sequence[Mapping[str, Any]], of: pa.Schema) -> pa.RecordBatch:
    """Return rows as a part of a file.

    Args:
        rows: by the names of columns, nested ones as dictionaries; an `embedding` is float32
            `[size]`. What a row leaves out is null.
        of: the schema; columns that were added to it are taken too.

    Raises:
        ValueError: if an embedding is of another size.
    """
    size = int(of.metadata[SIZE])
    found = [row.get("embedding") for row in rows]
    sizes = [0 if each is None else len(each) for each in found]
    if not {0, size}.issuperset(sizes):
        raise ValueError(f"an embedding of {of.metadata[SPACE].decode()} has {size} numbers")
    values = [each for each in found if each is not None]
    embeddings = pa.ListArray.from_arrays(
        pa.array(np.cumsum([0, *sizes]), pa.int32()),
        pa.array(np.concatenate(values) if values else [], pa.float32()),
        mask=pa.array([each is None for each in found], pa.bool_()),
    ).cast(of.field("embedding").type)
    arrays = [
        embeddings
        if field.name == "embedding"
        else pa.array([row.get(field.name) for row in rows], field.type)
        for field in of
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=of)


def writer(sink: Any, of: pa.Schema) -> pq.ParquetWriter:
    """Return what writes a file of a schema: a path, or a file that is open for bytes."""
    return pq.ParquetWriter(sink, of, use_dictionary=DICTIONARY_COLUMNS, compression="zstd")


class StoredEmbeddings:
    """The embeddings of a Parquet file, and what all of them have in common.

    Args:
        path: the file.
        space: the only embedding space that is taken; empty takes any.

    Attributes:
        space: the embedding space.
        size: of an embedding.
        model: the name of the model.
        model_version: its version when the file was written; each row has that of its own.
        schema: that of the rows that have an embedding.

    Raises:
        OSError: if it cannot be read.
        NoEmbeddingsError: if it is no such file.
        OtherSpaceError: if its embeddings are of another space.
    """

    def __init__(self, path: Path, space: str = "") -> None:
        self.path = path
        with _reading(path):
            found = pq.read_schema(path)
        try:
            self.schema = of_faces(found)
            self.size = int(found.metadata[SIZE])
            self.space, self.model, self.model_version = (
                found.metadata[key].decode() for key in (SPACE, MODEL, MODEL_VERSION)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise NoEmbeddingsError(
                f"{path} has no embeddings with their space, as 'embed --output' writes them"
            ) from error
        if space and space != self.space:
            raise OtherSpaceError(
                f"{path} has embeddings of {self.space}, which cannot be compared with those of "
                f"{space}: embed its images again with the model of the others"
            )

    def faces(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows that have an embedding, some thousand at once, and never none.

        Args:
            columns: only these; all by default.

        Raises:
            NoEmbeddingsError: if the file is damaged.
        """
        names = self.schema.names if columns is None else list(columns)
        with _reading(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(GROUP_ROWS, columns=[*{*names, "norm"}]):
                faces = batch.filter(batch.column("norm").is_valid())
                if not len(faces):
                    continue
                arrays = [self._fixed(name, faces.column(name)) for name in names]
                fields = [self.schema.field(name) for name in names]
                yield pa.RecordBatch.from_arrays(
                    arrays, schema=pa.schema(fields, self.schema.metadata)
                )

    def _fixed(self, name: str, column: pa.Array) -> pa.Array:
        if name != "embedding":
            return column
        return pa.FixedSizeListArray.from_arrays(column.flatten(), self.size)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None):
            raise  # The system's, as of a file that is not there.
        raise NoEmbeddingsError(f"{path} is no Parquet file, or is damaged: {error}") from error


def vectors(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """Return the embeddings of rows that have one, `[rows, size]`."""
    column = batch.column("embedding")
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)
