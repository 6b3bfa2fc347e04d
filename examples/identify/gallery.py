"""People and their embeddings, in one Parquet file that is written anew with every change."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from face_embedding_client import Embedding, ModelInfo, parquet
from face_embedding_client.parquet import NoEmbeddingsError, StoredEmbeddings


class Gallery:
    """The file that `embed --output` writes, with one more column: whose face it is.

    Args:
        path: the file, which need not be there yet.
        info: the model that new faces come from; None to look for no face.

    Raises:
        OtherSpaceError: if the gallery is of another space than the model.
        NoEmbeddingsError: if the file is no gallery.
    """

    def __init__(self, path: Path, info: ModelInfo | None = None) -> None:
        self._path = path.resolve()  # To change the file itself, where this is a link to it.
        if path.exists() or info is None:
            stored = StoredEmbeddings(path, info.embedding_space if info else "")
            if "person" not in stored.schema.names:
                raise NoEmbeddingsError(f"{path} is no gallery: it does not say whose faces it has")
            self._faces = pa.Table.from_batches(stored.faces(), stored.schema)
        else:
            schema = parquet.schema(
                info.embedding_size,
                space=info.embedding_space,
                model=info.name,
                model_version=info.model_version,
            )
            people = parquet.of_faces(schema).append(pa.field("person", pa.string()))
            self._faces = people.empty_table()

    def enrol(self, person: str, faces: dict[str, Embedding]) -> None:
        """Add faces of a person, by the names of their photographs."""
        rows = [
            {
                "person": person,
                "file": name,
                "face": 0,
                "embedding": face.values,
                "norm": face.norm,
                "model_version": face.model_version,
                "precision": face.precision,
            }
            for name, face in faces.items()
        ]
        added = parquet.record_batch(rows, self._faces.schema)
        self._write(pa.concat_tables([self._faces, pa.Table.from_batches([added])]))

    def forget(self, person: str) -> int:
        """Delete all that there is of a person; return how many faces that was.

        Raises:
            LookupError: if the person is not enrolled.
        """
        kept = self._faces.filter(pc.field("person") != person)
        removed = len(self._faces) - len(kept)
        if removed == 0:
            raise LookupError(f"{person} is not enrolled")
        self._write(kept)
        return removed

    def people(self) -> tuple[list[str], np.ndarray]:
        """Return who is enrolled, and a template of each, `[people, size]`.

        A template is the mean of a person's embeddings, of length 1. So a search compares once
        for each person, however many photographs there are.

        Raises:
            LookupError: if nobody is.
        """
        if not len(self._faces):
            raise LookupError("nobody is enrolled")
        people, owners = np.unique(self._faces["person"].to_numpy(), return_inverse=True)
        sums = np.zeros((len(people), self._faces.schema.field("embedding").type.list_size))
        faces = self._faces["embedding"].combine_chunks()
        np.add.at(sums, owners, faces.flatten().to_numpy().reshape(len(faces), -1))
        return people.tolist(), sums / np.linalg.norm(sums, axis=1, keepdims=True)

    def _write(self, faces: pa.Table) -> None:
        """Put a file with these faces, and no others, in the place of the one before."""
        pending = self._path.with_suffix(".pending")
        pending.touch(0o600)  # Faces are for nobody else.
        # Without the chunks that it grew by, so that nothing tells how it came to be.
        faces = faces.combine_chunks()
        try:
            with pending.open("wb") as file:
                with parquet.writer(file, faces.schema) as writer:
                    writer.write_table(faces)
                os.fsync(file.fileno())
            pending.replace(self._path)
        finally:
            pending.unlink(missing_ok=True)
        self._faces = faces
