"""The whole job once: make a model, serve it, and compare the faces of real photographs.

Run it with `make demo`. The weights are a stand-in with made-up values, so the similarities show
that everything works, and say nothing about who is who.
"""

import argparse
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

from face_embedding_client import Embedding, FaceEmbeddingClient, Photograph

MODEL = "face-recognition-resnet34-arcface"
# What InsightFace's package carries for its own tests: a group of people.
GROUP = "insightface/data/images/t1.jpg"
FACTS = (
    "name",
    "backend",
    "backend_version",
    "device",
    "precision",
    "channel_order",
    "embedding_size",
    "embedding_space",
    "detector",
    "weights_note",
    "license_note",
)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="where to keep the model")
    parser.add_argument("--photographs", type=Path, required=True, help="folder with the package")
    options = parser.parse_args()

    print("1. A stand-in for the published weights, converted to OpenVINO IR")
    server_command("models", "synthesize", MODEL, "--store", str(options.store)).check_returncode()

    print("\n2. The server, as a process of its own")
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MODEL]
    command += ["--store", str(options.store), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  # our own command
        try:
            announcement = server.stdout.readline() if server.stdout else ""
            print(announcement, end="")
            address = re.search(r" on (\S+:\d+) ", announcement)
            if address is None:
                sys.exit("the server did not start")
            embed_and_compare(address[1], read_photograph(options.photographs, GROUP))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"\n6. The server has stopped with exit status {server.returncode}")


def embed_and_compare(address: str, photograph: bytes) -> None:
    """Ask the server what it is, and have it find, embed and compare the faces of a photograph."""
    with FaceEmbeddingClient(address) as client:
        info = client.model_info()
        print("\n3. GetModelInfo")
        for name in FACTS:
            print(f"   {name.replace('_', ' '):<18} {getattr(info, name)}")

        faces = sorted(client.embed_faces(photograph), key=left)
        print(f"\n4. The {len(faces)} faces of a photograph, from left to right")
        for number, face in enumerate(faces):
            if found := face.detection:
                warnings = ", ".join(warning.reason for warning in face.warnings) or "no warnings"
                print(
                    f"   face {number}: {found.box.width:.0f}×{found.box.height:.0f} pixels, "
                    f"score {found.score:.3f}, {warnings}"
                )

        print(
            "\n5. Cosine similarity of each face to each, and to the likest in a smaller photograph"
        )
        smaller = client.embed_faces(shrunk(photograph))
        for number, face in enumerate(faces):
            row = [client.compare(face, other).cosine_similarity for other in faces]
            cells = " ".join(f"{value:6.3f}" for value in row)
            likest = max(client.compare(face, other).cosine_similarity for other in smaller)
            print(f"   face {number}  {cells}   smaller {likest:6.3f}")
        largest = Photograph(photograph, select="largest")
        similarity = client.compare(largest, largest).cosine_similarity
        print(f"   the largest face to itself: {similarity:.3f}   ({info.weights_note})")


def left(face: Embedding) -> float:
    """Return where in the photograph a face begins."""
    return face.detection.box.left if face.detection else 0


def shrunk(photograph: bytes) -> bytes:
    """Return a photograph at three quarters of its size."""
    image = cv2.imdecode(np.frombuffer(photograph, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small)[1].tobytes()


def server_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `face-embedding-server` as a person would."""
    command = [sys.executable, "-m", "face_embedding_server", *arguments]
    return subprocess.run(command, text=True, check=False)  # noqa: S603  # our own command


def read_photograph(folder: Path, name: str) -> bytes:
    """Return a file of the package."""
    with zipfile.ZipFile(next(folder.glob("insightface-*.whl"))) as package:
        return package.read(name)


if __name__ == "__main__":
    main()
