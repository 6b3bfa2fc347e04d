"""The Python client of face-embedding.

    with FaceEmbeddingClient("127.0.0.1:50051") as client:
        embedding = client.embed(Path("aligned.png").read_bytes())
        found = client.embed(Photograph(Path("photograph.jpg").read_bytes()))
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
from face_embedding_client._types import (
    Box,
    Comparison,
    Detection,
    Detections,
    Drift,
    Embedding,
    Face,
    FaceWarning,
    Landmarks,
    ModelInfo,
    OperatingPoint,
    Photograph,
    PreparedFace,
    RawFace,
)

__all__ = [
    "AsyncFaceEmbeddingClient",
    "Box",
    "Comparison",
    "DeadlineExceededError",
    "Detection",
    "Detections",
    "Drift",
    "Embedding",
    "Face",
    "FaceEmbeddingClient",
    "FaceEmbeddingError",
    "FaceWarning",
    "InvalidRequestError",
    "Landmarks",
    "ModelInfo",
    "OperatingPoint",
    "Photograph",
    "PreparedFace",
    "RawFace",
    "ServerError",
    "ServerUnavailableError",
    "UnknownModelError",
]
