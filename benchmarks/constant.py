"""The server, with an engine that gives the same embedding for every face, at once.

What it costs then is its own path and gRPC's. It proves itself with the real engine first.
"""

import argparse
import signal
from pathlib import Path

import numpy as np

from face_embedding_server.server import Server
from face_embedding_server.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    settings = {"model": options.model, "store": options.store, "address": "127.0.0.1:0"}
    server = Server(Settings.model_validate(settings))
    server.start()
    model = server.load()
    embedding = np.linspace(-1, 1, model.space.size, dtype=np.float32)
    type(model.backend).embed = lambda *_: embedding  # type: ignore[method-assign]  # all there is to it
    print(f"constant on 127.0.0.1:{server.port} ", flush=True)
    signal.sigwait([signal.SIGTERM])
    server.stop()


if __name__ == "__main__":
    main()
