"""The Python code in the documentation runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import Block, blocks

from face_embedding_client.cli.main import main
from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode, person

ADDRESS = "127.0.0.1:50051"
RUN = [block for block in blocks("python") if ADDRESS in block.text]


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, faces: list[Face], server: RunningServer
) -> Path:
    """A folder with the files that the code reads."""
    folder = tmp_path_factory.mktemp("images")
    photograph = person()
    (folder / "photo-a.jpg").write_bytes(encode(photograph, ".jpg"))
    for name, face in zip(("face-a", "face-b"), faces, strict=False):
        (folder / f"{name}.png").write_bytes(encode(face))
    output = ["--output", str(folder / "faces.parquet"), "--address", server.address]
    assert main(["embed", str(folder / "face-b.png"), *output]) == 0
    return folder


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.page)
def test_code_runs(block: Block, folder: Path, server: RunningServer) -> None:
    """Code that calls a server on this machine ends without an error."""
    code = block.text.replace(ADDRESS, server.address)
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.page)
def test_code_is_python(block: Block) -> None:
    """Code that cannot run here is Python at least."""
    compile(block.text, block.page, "exec")
