"""Faces in DuckDB, which reads Parquet, its metadata too, and compares by itself."""

import glob
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from face_embedding_client.parquet import StoredEmbeddings


class Store:
    """A database file with a table of faces, whose comment is their embedding space."""

    def __init__(self, place: Path) -> None:
        self._db = duckdb.connect(place)
        found = self._db.execute(
            "SELECT comment FROM duckdb_tables() WHERE table_name = 'faces'"
        ).fetchone()
        self.space: str = found[0] if found else ""

    def add(self, stored: StoredEmbeddings) -> None:
        """Add the faces of a file; those that are there already are replaced."""
        if not self.space:
            # Parquet has no lists of a fixed size, so that one is told which it is.
            self._db.execute(
                f"CREATE TABLE faces (file TEXT, face INTEGER, embedding FLOAT[{stored.size}],"
                " PRIMARY KEY (file, face))"
            )
            space = stored.space.replace("'", "''")  # It comes from a file.
            self._db.execute(f"COMMENT ON TABLE faces IS '{space}'")
            self.space = stored.space
        self._db.execute(
            "INSERT OR REPLACE INTO faces SELECT file, face, embedding FROM read_parquet(?)"
            " WHERE error_reason IS NULL",
            [glob.escape(str(stored.path))],  # Of this file, and of no others that fit its name.
        )

    def nearest(self, probe: np.ndarray, count: int) -> list[dict[str, Any]]:
        """Return the nearest faces."""
        found = self._db.execute(
            "SELECT file, face, array_cosine_similarity(embedding, $probe::FLOAT[$size])"
            " AS similarity FROM faces ORDER BY similarity DESC LIMIT $count".replace(
                "$size", str(len(probe))
            ),
            {"probe": probe.tolist(), "count": count},
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
