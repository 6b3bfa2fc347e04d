"""The server with a leak: it keeps each face that it embeds, and the embedding."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_embedding_server.cli.main import main
from face_embedding_server.faces.images import Pixels
from face_embedding_server.inference import backends

load = backends.load
kept: list[object] = []


class Leaking:
    """A backend that keeps what it is given and gives."""

    def __init__(self, backend: backends.Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def embed(self, face_bgr: Pixels) -> NDArray[np.float32]:
        embedding = self._backend.embed(face_bgr)
        kept.append((face_bgr.copy(), embedding))
        return embedding


backends.load = lambda *args, **kwargs: Leaking(load(*args, **kwargs))
sys.exit(main())
