"""Both clients behind the same methods, so that one test serves both."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from face_embedding_client import (
    AsyncFaceEmbeddingClient,
    Comparison,
    Detections,
    EmbeddedFaces,
    Embedding,
    Face,
    FaceEmbeddingClient,
    FaceEmbeddingError,
    ModelInfo,
    ModelSummary,
)

Outcome = Embedding | FaceEmbeddingError


class Blocking:
    """The asyncio client with the methods of the other, so that one test serves both."""

    def __init__(self, address: str, **options: Any) -> None:
        self._make = lambda: AsyncFaceEmbeddingClient(address, **options)

    def _do(self, work: Callable[[AsyncFaceEmbeddingClient], Any]) -> Any:
        async def run() -> Any:
            async with self._make() as client:
                return await work(client)

        return asyncio.run(run())

    def embed(self, face: Face, **options: Any) -> Embedding:
        return self._do(lambda client: client.embed(face, **options))

    def embed_many(self, faces: Sequence[Face], **options: Any) -> list[Outcome]:
        return self._do(lambda client: client.embed_many(faces, **options))

    def embed_stream(self, faces: Any, **options: Any) -> list[tuple[str, Outcome]]:
        async def collect(client: AsyncFaceEmbeddingClient) -> list[tuple[str, Outcome]]:
            return [item async for item in client.embed_stream(faces, **options)]

        return self._do(collect)

    def embed_faces(self, image: Any, **options: Any) -> EmbeddedFaces:
        return self._do(lambda client: client.embed_faces(image, **options))

    def detect(self, image: Any, **options: Any) -> Detections:
        return self._do(lambda client: client.detect(image, **options))

    def compare(self, first: Any, second: Any, **options: Any) -> Comparison:
        return self._do(lambda client: client.compare(first, second, **options))

    def model_info(self) -> ModelInfo:
        return self._do(lambda client: client.model_info())

    def list_models(self) -> list[ModelSummary]:
        return self._do(lambda client: client.list_models())

    def is_serving(self) -> bool:
        return self._do(lambda client: client.is_serving())


Client = FaceEmbeddingClient | Blocking
