"""Runs the server's command line with an engine that does what a file says, for tests of faults.

The first argument names the file. While it does not exist, or is empty, the engine is as it is.
"""

import sys
import threading
from pathlib import Path

import numpy as np

from face_embedding_server.cli.main import main
from face_embedding_server.faces.images import Pixels
from face_embedding_server.inference.backends.openvino import OpenVinoBackend
from face_embedding_server.inference.embeddings import Vector

MODE = Path(sys.argv.pop(1))
as_it_is = OpenVinoBackend.embed


def embed(self: OpenVinoBackend, face_bgr: Pixels) -> Vector:
    mode = MODE.read_text() if MODE.exists() else ""
    if mode == "hang":
        threading.Event().wait()
    if mode == "fail":
        raise RuntimeError("the engine is broken")
    if mode == "nan":
        return np.full(128, np.nan, np.float32)
    return as_it_is(self, face_bgr)


OpenVinoBackend.embed = embed  # type: ignore[method-assign]
sys.exit(main())
