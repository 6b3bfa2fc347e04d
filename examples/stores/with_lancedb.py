"""Faces in LanceDB, which keeps the schema of a file, and its metadata with it."""

from pathlib import Path
from typing import Any

import lancedb
import numpy as np

from face_embedding_client.parquet import SPACE, StoredEmbeddings

TABLE = "faces"


class Store:
    """A folder with a table of faces, all columns of them; its schema has their space."""

    def __init__(self, place: Path) -> None:
        self._db = lancedb.connect(place)
        self._table = self._db.open_table(TABLE) if TABLE in self._db.table_names() else None
        self.space = ""
        if self._table is not None:  # It is false as long as no row is in it.
            self.space = self._table.schema.metadata[SPACE].decode()

    def add(self, stored: StoredEmbeddings) -> None:
        """Add the faces of a file; those that are there already are replaced."""
        if self._table is None:
            self._table = self._db.create_table(TABLE, schema=stored.schema)
            self.space = stored.space
        merge = self._table.merge_insert(["file", "face"])
        merge = merge.when_matched_update_all().when_not_matched_insert_all()
        for batch in stored.faces():
            merge.execute(batch)

    def nearest(self, probe: np.ndarray, count: int) -> list[dict[str, Any]]:
        """Return the nearest faces."""
        found = self._table.search(probe, vector_column_name="embedding").distance_type("cosine")
        rows = found.select(["file", "face", "_distance"]).limit(count).to_list()
        return [
            {"file": row["file"], "face": row["face"], "similarity": 1 - row["_distance"]}
            for row in rows
        ]
