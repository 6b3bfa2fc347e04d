"""The whole job once: get a model, serve it, and compare photographs.

Run it with `make demo`. The weights are SFace's, freely licensed, where they can be downloaded, and
otherwise a stand-in with made-up values, which shows that everything works and says nothing about
who is who.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from face_embedding_client import Embedding, FaceEmbeddingClient, Photograph

MODEL = "sface"
STAND_IN = "face-recognition-resnet34-arcface"
# For SFace's embeddings, by its authors: opencv_zoo, models/face_recognition_sface.
THRESHOLD = 0.363
OFFLINE = "FACE_EMBEDDING_OFFLINE"
FACTS = (
    "name",
    "backend",
    "backend_version",
    "device",
    "precision",
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
    parser.add_argument(
        "--photographs",
        type=Path,
        required=True,
        nargs=3,
        metavar=("PERSON", "SAME", "OTHER"),
        help="two photographs of one person, and one of another",
    )
    parser.add_argument("--model", default=MODEL, help="the model (default: %(default)s)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help="the similarity from which two faces match (default: %(default)s)",
    )
    parser.add_argument(
        "install_options", nargs="*", help="more for 'models install', after --", metavar="OPTION"
    )
    options = parser.parse_args()

    print(f"1. Weights: {options.model}, if it can be downloaded")
    model = options.model
    if not installed(model, options.store, options.install_options):
        model = STAND_IN
        print(f"   a stand-in instead: the network of {model} with made-up weights")
        server_command("models", "synthesize", model, "--store", str(options.store), check=True)

    print("\n2. The server, as a process of its own")
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", model]
    command += ["--store", str(options.store), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  # our own command
        try:
            announcement = server.stdout.readline() if server.stdout else ""
            print(announcement, end="")
            address = re.search(r" on (\S+:\d+) ", announcement)
            if address is None:
                sys.exit("the server did not start")
            compare_people(address[1], options.photographs, options.threshold)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"\n6. The server has stopped with exit status {server.returncode}")


def installed(model: str, store: Path, install_options: list[str]) -> bool:
    """Install a model, unless that is not wanted; tell whether it is there."""
    if os.environ.get(OFFLINE):
        print(f"   not tried, as {OFFLINE} is set")
        return False
    command = ["models", "install", model, "--store", str(store), "--connect-timeout-s", "5"]
    return server_command(*command, *install_options).returncode == 0


def compare_people(address: str, photographs: list[Path], threshold: float) -> None:
    """Ask the server what it is, and have it find, embed and compare the photographs' faces."""
    with FaceEmbeddingClient(address) as client:
        info = client.model_info()
        print("\n3. GetModelInfo")
        for name in FACTS:
            print(f"   {name.replace('_', ' '):<18} {getattr(info, name)}")

        print("\n4. The largest face of each photograph")
        faces = [
            client.embed(Photograph(path.read_bytes(), select="largest")) for path in photographs
        ]
        for path, face in zip(photographs, faces, strict=True):
            print(f"   {path.name:<18} {described(face)}")

        print("\n5. Cosine similarity")
        person = photographs[0].name
        for path, other, what in (
            (photographs[1], faces[1], "the same person"),
            (photographs[2], faces[2], "another person"),
        ):
            compared = client.compare(faces[0], other, threshold=threshold)
            verdict = "match" if compared.match else "no match"
            if info.weights_origin == "SYNTHETIC":
                verdict = "which means nothing, as the weights are made up"
            print(
                f"   {person} and {path.name}, {what}: {compared.cosine_similarity:.3f}, {verdict}"
            )


def described(face: Embedding) -> str:
    """Return where a face was found, and what is said of it."""
    found = face.detection
    if found is None:
        return "no detector was asked"
    warnings = ", ".join(warning.reason for warning in face.warnings) or "no warnings"
    return (
        f"{found.box.width:.0f}×{found.box.height:.0f} pixels, score {found.score:.3f}, {warnings}"
    )


def server_command(*arguments: str, check: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run `face-embedding-server` as a person would."""
    command = [sys.executable, "-m", "face_embedding_server", *arguments]
    return subprocess.run(command, text=True, check=check)  # noqa: S603  # our own command


if __name__ == "__main__":
    main()
