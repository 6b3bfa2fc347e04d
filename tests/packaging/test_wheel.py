"""The built wheel, in an empty environment with only the client's dependencies."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode

ROOT = Path(__file__).parents[2]
SCRIPT = """
import importlib.util, pathlib, sys
import face_embedding_client, google.protobuf
assert google.protobuf.__version__.startswith(sys.argv[3]), google.protobuf.__version__
for absent in ("openvino", "mxnet", "cv2", "PIL", "pydantic"):
    assert importlib.util.find_spec(absent) is None, absent
assert ".venv" not in face_embedding_client.__file__
with face_embedding_client.FaceEmbeddingClient(sys.argv[1]) as client:
    face = pathlib.Path(sys.argv[2]).read_bytes()
    embedding = client.embed(face)
    ((name, streamed),) = client.embed_stream([("a", face)])
    print(client.compare(embedding, streamed).cosine_similarity, client.is_serving())
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("protobuf", ["6", "7"])
def test_client_alone(
    protobuf: str, wheel: Path, server: RunningServer, faces: list[Face], tmp_path: Path
) -> None:
    """The client runs with its own dependencies alone, without a warning, on either protobuf."""
    venv.create(tmp_path / "empty", with_pip=True)
    python = str(tmp_path / "empty" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", str(wheel), f"protobuf=={protobuf}.*"]
    subprocess.run(install, check=True, cwd=tmp_path)
    face = tmp_path / "face.png"
    face.write_bytes(encode(faces[0]))
    command = [python, "-W", "error", "-c", SCRIPT, server.address, str(face), protobuf]
    result = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    similarity, serving = result.stdout.split()
    assert float(similarity) == pytest.approx(1, abs=1e-6)
    assert serving == "True"
    # The golden file is in the wheel.
    program = str(tmp_path / "empty" / "bin" / "face-embedding")
    command = [program, "conformance", "--address", server.address]
    result = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1].endswith(" passed, 0 failed, 0 skipped")
