"""Faces in FAISS, which knows vectors by their row alone: who they are stands in a file beside."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from face_embedding_client.parquet import SPACE, StoredEmbeddings, vectors


class Store:
    """A folder with an index and with the faces' names, the schema of which has their space."""

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self._index_file, self._names_file = place / "faces.index", place / "names.parquet"
        self._names: pa.Table | None = None
        self.space = ""
        if self._names_file.exists():
            self._index = faiss.read_index(str(self._index_file))
            self._names = pq.read_table(self._names_file)
            self.space = self._names.schema.metadata[SPACE].decode()

    def add(self, stored: StoredEmbeddings) -> None:
        """Take the faces of a file, in the place of all that were there."""
        self._index = faiss.IndexFlatIP(stored.size)
        names = []
        for batch in stored.faces(["file", "face", "embedding"]):
            self._index.add(vectors(batch))
            names.append(batch.select(["file", "face"]))
        schema = pa.schema(map(stored.schema.field, ("file", "face")), stored.schema.metadata)
        self._names = pa.Table.from_batches(names, schema)
        self.space = stored.space
        # Without names there is no store: so none are there with another index, whatever ends this.
        self._names_file.unlink(missing_ok=True)
        faiss.write_index(self._index, str(self._index_file))
        pq.write_table(self._names, self._names_file)

    def nearest(self, probe: np.ndarray, count: int) -> list[dict[str, Any]]:
        """Return the nearest faces."""
        # The product of vectors of length 1 is their cosine.
        similarities, rows = self._index.search(probe[np.newaxis], count)
        return [
            {**self._names.slice(int(row), 1).to_pylist()[0], "similarity": float(similarity)}
            for row, similarity in zip(rows[0], similarities[0], strict=True)
            if row >= 0  # There are fewer than asked for.
        ]
