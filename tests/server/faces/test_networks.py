"""The networks that find faces, in processes of their own: their memory, and their first images."""

import subprocess
import sys
from pathlib import Path

import pytest

# Without a limit on what is made ready for sizes, 250 MB here and more with each size.
MOST_MB = 150
SEARCH = """
import sys
from pathlib import Path
import numpy as np
from face_embedding_server.faces import detectors

def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6

detector = detectors.load("yunet", Path(sys.argv[1]))
random = np.random.default_rng(0)
before = resident_mb()
for _ in range(100):
    height, width = random.integers(100, 641, 2)
    detector.detect(random.integers(0, 256, (height, width, 3), np.uint8))
print(resident_mb() - before)
"""
FIRST_IMAGES = """
from threading import Barrier, Thread
import numpy as np
from face_embedding_server.faces import detectors

detector = detectors.load("mtcnn", None)
together = Barrier(THREADS := 8)
image = np.zeros((64, 64, 3), np.uint8)

def search():
    together.wait()
    detector.detect(image)

threads = [Thread(target=search) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_first_images_at_once() -> None:
    """The first images of a process may come in several threads at once: none waits for ever."""
    for _ in range(5):
        subprocess.run([sys.executable, "-c", FIRST_IMAGES], check=True, timeout=60)


@pytest.mark.slow
def test_many_sizes(test_data: Path) -> None:
    """Photographs of a hundred sizes, one after the other, take a limited memory."""
    network = test_data / "models" / "yunet_2026may.onnx"
    command = [sys.executable, "-c", SEARCH, network]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    assert float(found.stdout) < MOST_MB
