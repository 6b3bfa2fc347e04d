"""The README is true: its commands and its Python code are run as they stand."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trustme

from face_embedding_models.store import Store
from face_embedding_server.images import Image as Face
from support import encode, issue, person

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SERVE = "face-embedding-server serve "


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, faces: list[Face]) -> Path:
    """A folder with the files that the README speaks of."""
    photograph = person()
    for name, light in (("photo-a.jpg", 1.0), ("photo-b.jpg", 0.8)):
        (tmp_path / name).write_bytes(encode((photograph * light).astype(np.uint8), ".jpg"))
    (tmp_path / "faces").mkdir()
    for name, face in zip(("face-a", "face-b", "face-c"), faces, strict=False):
        (tmp_path / f"{name}.png").write_bytes(encode(face))
        (tmp_path / "faces" / f"{name}.png").write_bytes(encode(face))
    table = "first,second,same\nface-a,face-a,1\nface-a,face-b,0\nface-b,face-c,0\n"
    (tmp_path / "pairs.csv").write_text(table)
    return tmp_path


def test_commands(folder: Path) -> None:
    """The commands succeed one after the other, in a fresh store, and the Python code runs."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if not line.startswith("make ")]
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "FACE_EMBEDDING_STORE": str(folder / "store"),
    }
    assert sum(command.startswith(SERVE) for command in commands) == 1
    position = next(n for n, command in enumerate(commands) if command.startswith(SERVE))

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, cwd=folder, env=environment)

    for command in commands[:position]:
        run(command.split())
    # A free port instead of the README's, which may be taken where the tests run.
    serve = [*commands[position].split()[:-1], "127.0.0.1:0"]
    with subprocess.Popen(
        serve, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            address = server.stdout.readline().split(" on ")[1].split()[0]
            environment["FACE_EMBEDDING_ADDRESS"] = address
            for command in commands[position + 1 :]:
                run(command.split())
            for code in blocks("python"):
                run([sys.executable, "-c", code.replace("127.0.0.1:50051", address)])
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert Store(folder / "store").names()


def test_make_targets() -> None:
    """Set-up is exactly two commands, and both are targets of the Makefile."""
    makes = [line for block in blocks("sh") for line in block.splitlines() if "make " in line]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert makes == ["make demo", "make test"]
    assert {"demo", "test"} <= set(targets)


def test_import_command(tmp_path: Path) -> None:
    """The import that the README shows is a command that exists, and refuses other archives."""
    line = next(line for text in blocks("text") for line in text.splitlines() if " import " in line)
    name, source = line.split()[-2:]
    wrong = tmp_path / source
    wrong.write_bytes(b"not it")
    command = [sys.executable, "-m", "face_embedding_server", "models", "import", name, str(wrong)]
    result = subprocess.run(
        [*command, "--store", str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "is not the published" in result.stderr


def test_secure_commands(folder: Path, store: Store, tmp_path: Path) -> None:
    """The commands for production are run as they stand, with the access file that is shown."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made = issue(tmp_path / "made", authority, "localhost")
    made.certificate.rename(folder / "server.pem")
    made.key.rename(folder / "server.key")
    block = next(text for text in blocks("text") if "--tls-certificate" in text)
    token, serve, embed = (line.split() for line in block.splitlines())
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FACE_EMBEDDING_STORE": str(store.root),
    }

    def run(command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    made_token = dict(line.split() for line in run(token).splitlines())
    (folder / "token").write_text(made_token["token"])
    (access,) = blocks("toml")
    digest = re.compile(r'(?<=sha256 = ")[0-9a-f]{64}')
    assert digest.search(access)
    (folder / "access.toml").write_text(digest.sub(made_token["sha256"], access))
    # Free ports instead of those of the README.
    serve = [re.sub(r":(50051|9090)$", ":0", word) for word in serve]
    with subprocess.Popen(
        serve,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout
            port = re.search(r":(\d+) with", server.stdout.readline())
            assert port
            assert "photo-a.jpg: norm" in run([word.replace("50051", port[1]) for word in embed])
        finally:
            server.send_signal(signal.SIGTERM)
