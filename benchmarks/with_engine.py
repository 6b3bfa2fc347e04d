"""The server by its own command line, with another engine: `with_engine.py ENGINE serve ...`.

The engine `constant` gives the same embedding for every face, at once, so that what is left is
the server's own path and gRPC's. `sleep` gives it after 50 ms, and `nap` after 5 ms, one face at a
time, as an engine does that has a processor of its own. A server proves itself with the real engine
first.
"""

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from face_embedding_server import ending
from face_embedding_server.cli.main import main
from face_embedding_server.inference.model import ServedModel
from face_embedding_server.server import Server

SLEEP_S, NAP_S = 0.05, 0.005


def constant(embedding: np.ndarray) -> Callable[..., np.ndarray]:
    """Return what embeds at once."""
    return lambda *_: embedding


def sleeping(embedding: np.ndarray, seconds: float = SLEEP_S) -> Callable[..., np.ndarray]:
    """Return what embeds slowly, but keeps no processor."""
    turn = threading.Lock()

    def embed(*_: Any) -> np.ndarray:
        with turn:
            time.sleep(seconds)
        return embedding

    return embed


ENGINES = {
    "constant": constant,
    "sleep": sleeping,
    "nap": functools.partial(sleeping, seconds=NAP_S),
}
_load = Server.load


def load(server: Server) -> ServedModel:
    """Load the models, and then replace what embeds."""
    model = _load(server)
    embedding = np.linspace(-1, 1, model.space.size, dtype=np.float32)
    type(model.backend).embed = ENGINES[sys.argv[1]](embedding)  # type: ignore[method-assign]  # all there is to it
    return model


# Here, as each process of several begins with this module.
Server.load = load  # type: ignore[method-assign]

if __name__ == "__main__":
    ending.leave(main(sys.argv[2:]))
