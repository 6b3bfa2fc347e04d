"""Put Parquet files of `embed --output` into a store, and find the nearest faces there.

Prints JSON. A store takes embeddings of one space: that of the first file.

    python search.py lancedb faces.lance --add faces.parquet
    python search.py lancedb faces.lance --nearest photos.parquet

`STORE` is one of the modules beside this one: `qdrant`, `lancedb`, `faiss` or `duckdb`.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from face_embedding_client.parquet import (
    NoEmbeddingsError,
    OtherSpaceError,
    StoredEmbeddings,
    vectors,
)

STORES = ("qdrant", "lancedb", "faiss", "duckdb")


class Store(Protocol):
    """What each of the modules has, as its `Store`: made of the folder or file that it is in."""

    space: str
    """The embedding space of all that is in it; empty as long as nothing is."""

    def add(self, stored: StoredEmbeddings) -> None:
        """Add the faces of a file; those that are there already are replaced."""

    def nearest(self, probe: np.ndarray, count: int) -> list[dict[str, Any]]:
        """Return the nearest faces, as `file`, `face` and the cosine `similarity`."""


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", choices=STORES)
    parser.add_argument("place", type=Path, help="the folder or the file of the store")
    parser.add_argument("--add", type=Path, metavar="PARQUET", help="faces to put into it")
    parser.add_argument("--nearest", type=Path, metavar="PARQUET", help="faces to look for")
    parser.add_argument("--count", type=int, default=3, help="how many to find of each")
    options = parser.parse_args()
    if options.count < 1:
        parser.error("--count has to be at least 1")
    store: Store = importlib.import_module(f"with_{options.store}").Store(options.place)
    try:
        if options.add:
            store.add(StoredEmbeddings(options.add, store.space))
        if options.nearest:
            if not store.space:
                sys.exit(f"{parser.prog}: {options.place} has no faces yet: --add some first")
            probes = StoredEmbeddings(options.nearest, store.space)
            print(json.dumps(search(store, probes, options.count), indent=2))
    except (OSError, NoEmbeddingsError, OtherSpaceError) as error:
        sys.exit(f"{parser.prog}: {error}")


def search(store: Store, probes: StoredEmbeddings, count: int) -> list[dict[str, Any]]:
    """Return the nearest of each face of a file."""
    return [
        {"file": file.as_py(), "face": face.as_py(), "nearest": store.nearest(probe, count)}
        for batch in probes.faces(["file", "face", "embedding"])
        for file, face, probe in zip(batch["file"], batch["face"], vectors(batch), strict=True)
    ]


if __name__ == "__main__":
    main()
