"""Faces in Qdrant: in its local mode, which needs no server, and the same in one that runs."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client.models import Batch, Distance, VectorParams

from face_embedding_client.parquet import StoredEmbeddings, vectors

COLLECTION = "faces"


class Store:
    """A collection of faces, whose metadata have their space."""

    def __init__(self, place: Path) -> None:
        self._client = QdrantClient(path=str(place))  # A server: url="http://..."
        self.space = ""
        if self._client.collection_exists(COLLECTION):
            metadata = self._client.get_collection(COLLECTION).config.metadata or {}
            self.space = metadata["space"]

    def add(self, stored: StoredEmbeddings) -> None:
        """Add the faces of a file; those that are there already are replaced."""
        if not self.space:
            self._client.create_collection(
                COLLECTION,
                VectorParams(size=stored.size, distance=Distance.COSINE),
                metadata={"space": stored.space},
            )
            self.space = stored.space
        for batch in stored.faces(["file", "face", "embedding"]):
            payloads = batch.select(["file", "face"]).to_pylist()
            # A face has the same number whenever it is added.
            ids = [
                str(uuid.uuid5(uuid.NAMESPACE_URL, "{file}#{face}".format(**payload)))
                for payload in payloads
            ]
            points = Batch(ids=ids, vectors=vectors(batch).tolist(), payloads=payloads)
            self._client.upsert(COLLECTION, points)

    def nearest(self, probe: np.ndarray, count: int) -> list[dict[str, Any]]:
        """Return the nearest faces."""
        found = self._client.query_points(COLLECTION, query=probe.tolist(), limit=count)
        return [{**point.payload, "similarity": point.score} for point in found.points]
