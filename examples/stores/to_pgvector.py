"""Write a Parquet file of `embed --output` as SQL that fills the table of `pgvector.sql`.

python to_pgvector.py faces.parquet | psql -v ON_ERROR_STOP=1
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from face_embedding_client.parquet import NoEmbeddingsError, StoredEmbeddings


def main() -> None:
    """Run the example."""
    try:
        stored = StoredEmbeddings(Path(sys.argv[1]))
    except (OSError, NoEmbeddingsError) as error:
        sys.exit(f"to_pgvector.py: {error}")
    sink = sys.stdout.buffer
    sink.write(b"COPY faces (space, file, face, embedding) FROM STDIN (FORMAT csv);\n")
    for batch in stored.faces(["file", "face", "embedding"]):
        columns = {
            "space": pa.array([stored.space] * len(batch)),
            "file": batch["file"],
            "face": batch["face"],
            "embedding": in_words(batch["embedding"]),
        }
        csv.write_csv(pa.table(columns), sink, csv.WriteOptions(include_header=False))
    sink.write(b"\\.\n")


def in_words(embeddings: pa.FixedSizeListArray) -> pa.Array:
    """Return embeddings as pgvector reads them, such as `[0.6,0.8]`."""
    numbers = pc.cast(embeddings.flatten(), pa.string())
    size = embeddings.type.list_size
    rows = pa.FixedSizeListArray.from_arrays(numbers, size).cast(pa.list_(pa.string()))
    return pc.binary_join_element_wise("[", pc.binary_join(rows, ","), "]", "")


if __name__ == "__main__":
    main()
