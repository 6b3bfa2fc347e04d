"""Embed two images and compare them, with the package's own client.

Prints JSON. The images are aligned faces, or photographs with `--detect`.
"""

import argparse
import json
import sys
from pathlib import Path

from face_embedding_client import FaceEmbeddingClient, FaceEmbeddingError, Photograph, Tls


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs=2, type=Path, metavar="FILE")
    parser.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT")
    parser.add_argument("--detect", action="store_true", help="the server finds the face")
    parser.add_argument("--ca", type=Path, help="PEM file of who signed the server's certificate")
    parser.add_argument("--certificate", type=Path, help="PEM file of this client's certificate")
    parser.add_argument("--key", type=Path, help="PEM file of its key")
    parser.add_argument("--token-file", type=Path)
    options = parser.parse_args()

    ca, certificate, key = map(read, (options.ca, options.certificate, options.key))
    tls = Tls(ca, certificate, key) if ca else None
    token = options.token_file.read_text().strip() if options.token_file else ""
    images = [file.read_bytes() for file in options.files]
    faces = [Photograph(image) for image in images] if options.detect else images
    try:
        with FaceEmbeddingClient(options.address, tls=tls, token=token) as client:
            first, second = (client.embed(face) for face in faces)
            comparison = client.compare(first, second)
    except FaceEmbeddingError as error:
        sys.exit(f"{error.code.name} {error.reason}: {error.message}")
    answer = {
        "space": first.space,
        "embeddings": [embedding.values.tolist() for embedding in (first, second)],
        "cosine_similarity": comparison.cosine_similarity,
    }
    print(json.dumps(answer))


def read(file: Path | None) -> bytes | None:
    """Return what a file holds, if there is one."""
    return file.read_bytes() if file else None


if __name__ == "__main__":
    main()
