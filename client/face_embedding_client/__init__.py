"""The Python client of face-embedding.

    with FaceEmbeddingClient("127.0.0.1:50051") as client:
        embedding = client.embed(Path("aligned.png").read_bytes())
        found = client.embed(Photograph(Path("photograph.jpg").read_bytes()))
        comparison = client.compare(first, second, threshold=0.4)

    with FaceEmbeddingClient("dns:///face.example.org:443", tls=Tls(), round_robin=True) as client:
        ...

`AsyncFaceEmbeddingClient` is the same for asyncio.
"""

from face_embedding_client._aio import AsyncFaceEmbeddingClient
from face_embedding_client._errors import (
    ConnectionLostError,
    DeadlineExceededError,
    FaceEmbeddingError,
    IncompleteStreamError,
    InvalidRequestError,
    NotPermittedError,
    OverloadedError,
    ServerError,
    ServerUnavailableError,
    SuspectRequestError,
    UnknownModelError,
)
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import (
    AlignedFace,
    Box,
    Comparison,
    Detection,
    Detections,
    Drift,
    EmbeddedFaces,
    Embedding,
    Face,
    FaceWarning,
    Landmarks,
    ModelInfo,
    ModelSummary,
    OperatingPoint,
    Photograph,
    PreparedFace,
    RawFace,
    Tls,
)

__all__ = [
    "AlignedFace",
    "AsyncFaceEmbeddingClient",
    "Box",
    "Comparison",
    "ConnectionLostError",
    "DeadlineExceededError",
    "Detection",
    "Detections",
    "Drift",
    "EmbeddedFaces",
    "Embedding",
    "Face",
    "FaceEmbeddingClient",
    "FaceEmbeddingError",
    "FaceWarning",
    "IncompleteStreamError",
    "InvalidRequestError",
    "Landmarks",
    "ModelInfo",
    "ModelSummary",
    "NotPermittedError",
    "OperatingPoint",
    "OverloadedError",
    "Photograph",
    "PreparedFace",
    "RawFace",
    "ServerError",
    "ServerUnavailableError",
    "SuspectRequestError",
    "Tls",
    "UnknownModelError",
]
