"""What each stage of a photograph costs, from its file to its embedding, in time of one processor.

The photograph is skimage's astronaut on a canvas of the size that is asked for.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from bench import MODELS, prepare
from skimage import data

from face_embedding_models.store import Store
from face_embedding_server.faces import alignment, detectors, quality
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import ImageReader
from face_embedding_server.inference import backends

ROUNDS = 30
JPEG_QUALITY = 90


def main() -> None:
    """Measure the stages and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", choices=MODELS, default="mobilefacenet")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    store = Store(options.store)
    prepare(store, MODELS[options.model], "f32")
    stages = measure(store, MODELS[options.model], photograph(options.width, options.height))
    total = sum(stages.values())
    for name, milliseconds in stages.items():
        print(f"{name:<10} {milliseconds:8.2f} ms {milliseconds / total:6.1%}")
    print(f"{'together':<10} {total:8.2f} ms")


def photograph(width: int, height: int) -> bytes:
    """Return a JPEG of a person, of a size in pixels."""
    person = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    scale = min(width / person.shape[1], height / person.shape[0])
    small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 127, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return encoded.tobytes()


def measure(store: Store, name: str, file: bytes) -> dict[str, float]:
    """Return the median milliseconds of processor time of each stage."""
    stored = store.get(name)
    size = ImageSize(stored.manifest.input.width, stored.manifest.input.height)
    backend = backends.load("openvino", stored, "f32")
    detector = detectors.load("mtcnn", None)
    if detector is None:
        raise SystemExit("there is no detector")
    image = ImageReader().decode(file)
    landmarks = detectors.find(detector, image)[0].landmarks
    face = alignment.align(image, landmarks, size)
    stages: dict[str, Callable[[], Any]] = {
        "decode": lambda: ImageReader().decode(file),
        "detect": lambda: detectors.find(detector, image),
        "align": lambda: alignment.align(image, landmarks, size),
        "embed": lambda: backend.embed(face),
        "warnings": lambda: quality.warnings(face, landmarks, 10.0, 8.0),
    }
    times: dict[str, list[float]] = {stage: [] for stage in stages}
    for _ in range(ROUNDS):
        for stage, run in stages.items():
            start = time.process_time()
            run()
            times[stage].append(time.process_time() - start)
    return {stage: 1e3 * median(each) for stage, each in times.items()}


if __name__ == "__main__":
    main()
