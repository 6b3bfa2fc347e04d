"""The Python client of face-embedding.

    with FaceEmbeddingClient("127.0.0.1:50051") as client:
        embedding = client.embed(Path("aligned.png").read_bytes())
        comparison = client.compare(first, second, threshold=0.4)

`AsyncFaceEmbeddingClient` is the same for asyncio.
"""

from face_embedding_client._aio import AsyncFaceEmbeddingClient
from face_embedding_client._errors import (
    DeadlineExceededError,
    FaceEmbeddingError,
    InvalidRequestError,
    ServerError,
    ServerUnavailableError,
    UnknownModelError,
)
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import Comparison, Drift, Embedding, Face, ModelInfo, RawFace

__all__ = [
    "AsyncFaceEmbeddingClient",
    "Comparison",
    "DeadlineExceededError",
    "Drift",
    "Embedding",
    "Face",
    "FaceEmbeddingClient",
    "FaceEmbeddingError",
    "InvalidRequestError",
    "ModelInfo",
    "RawFace",
    "ServerError",
    "ServerUnavailableError",
    "UnknownModelError",
]
