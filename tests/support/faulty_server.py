"""Runs the server's command line with an engine that does what a file says, for tests of faults.

The first argument names the file. While it does not exist, or is empty, the engine is as it is, and
so is the detector.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from face_embedding_server.cli.main import main
from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import Detection
from face_embedding_server.faces.images import Image, Pixels
from face_embedding_server.inference.backends.openvino import OpenVinoBackend
from face_embedding_server.inference.embeddings import Vector

MODE = Path(sys.argv.pop(1))
as_it_is = OpenVinoBackend.embed


def mode_now() -> str:
    return MODE.read_text() if MODE.exists() else ""


def embed(self: OpenVinoBackend, face_bgr: Pixels) -> Vector:
    mode = mode_now()
    if mode == "hang":
        threading.Event().wait()
    if mode == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "fail":
        raise RuntimeError("the engine is broken")
    if mode == "nan":
        return np.full(128, np.nan, np.float32)
    return as_it_is(self, face_bgr)


class FaultyDetector:
    name = "faulty"
    sure_score = unsure_score = 0.0

    def detect(self, _: Image) -> list[Detection]:
        if mode_now() == "detector hangs":
            threading.Event().wait()
        return []


detectors.load = lambda name, *_: None if name == detectors.NONE else FaultyDetector()  # type: ignore[assignment,misc]
OpenVinoBackend.embed = embed  # type: ignore[method-assign]
sys.exit(main())
