"""The commands and the Python code of the README, and of the documentation, run as they stand."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trustme

from face_embedding_models import manifest
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import encode, issue, person

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
SERVE = "face-embedding-server serve "
# Which commands of the documentation are run: those on the page that begin like this.
DOCUMENTED = [
    ("models.md", "face-embedding-server models synthesize "),
    ("models.md", "face-embedding-server models show "),
    ("accuracy.md", "face-embedding-server evaluate --model "),
    ("accuracy.md", "face-embedding-server calibrate "),
    ("accuracy.md", "face-embedding-server drift {model} {model}:mxnet "),
    ("parity.md", "face-embedding-server parity --model {model}\n"),
    ("clients.md", "face-embedding health\n"),
    ("index.md", "face-embedding info\n"),
    ("clients.md", "face-embedding info --json\n"),
    ("preparation.md", "face-embedding embed photo-a.jpg photo-b.jpg --detect "),
    ("clients.md", "face-embedding embed "),
    ("clients.md", "face-embedding compare photo-a.jpg photo-b.jpg --detect "),
    ("clients.md", "face-embedding compare face-a.png face-b.png\n"),
    ("clients.md", "face-embedding conformance\n"),
]


def blocks(language: str, text: str = README) -> list[str]:
    pattern = rf'^```{language}(?: title="[^"]*")?\n(.*?)^```'
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of the README, without those of make."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if not line.startswith("make ")]


def serve_command() -> list[str]:
    (command,) = (command for command in commands() if command.startswith(SERVE))
    # A free port instead of the README's, which may be taken where the tests run.
    return [*command.split()[:-1], "127.0.0.1:0"]


def environment(store: Path) -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "FACE_EMBEDDING_STORE": str(store),
    }


@contextlib.contextmanager
def served(command: list[str], folder: Path, variables: dict[str, str]) -> Iterator[str]:
    """The address of a server that runs by this command, and ends with 0."""
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().split(" on ")[1].split()[0]
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


@pytest.fixture
def folder(tmp_path: Path, faces: list[Face]) -> Path:
    """A folder with the files that the README and the documentation speak of."""
    photograph = person()
    for name, light in (("photo-a.jpg", 1.0), ("photo-b.jpg", 0.8)):
        (tmp_path / name).write_bytes(encode((photograph * light).astype(np.uint8), ".jpg"))
    (tmp_path / "faces").mkdir()
    for name, face in zip(("face-a", "face-b", "face-c"), faces, strict=False):
        (tmp_path / f"{name}.png").write_bytes(encode(face))
        (tmp_path / "faces" / f"{name}.png").write_bytes(encode(face))
    # Of fewer than ten no change can be judged.
    for moved in range(1, 9):
        file = tmp_path / "faces" / f"{moved}.png"
        file.write_bytes(encode(np.roll(faces[0], moved, axis=1)))
    table = "first,second,same\nface-a,face-a,1\nface-a,face-b,0\nface-b,face-c,0\n"
    (tmp_path / "pairs.csv").write_text(table)
    return tmp_path


def test_commands(folder: Path) -> None:
    """The commands succeed one after the other, in a fresh store, and the Python code runs."""
    variables = environment(folder / "store")
    position = next(n for n, command in enumerate(commands()) if command.startswith(SERVE))

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, cwd=folder, env=variables)

    for command in commands()[:position]:
        run(command.split())
    with served(serve_command(), folder, variables) as address:
        variables["FACE_EMBEDDING_ADDRESS"] = address
        for command in commands()[position + 1 :]:
            run(command.split())
        for code in blocks("python"):
            run([sys.executable, "-c", code.replace("127.0.0.1:50051", address)])
    assert Store(folder / "store").names()


def test_documented_commands(folder: Path) -> None:
    """The documentation's commands from a stand-in to its evaluation succeed, in a fresh store."""
    variables = environment(folder / "store")
    command = serve_command()
    model = command[command.index("--model") + 1]
    found: list[str] = []
    for page, beginning in DOCUMENTED:
        shown = "".join(blocks("sh", (DOCS / page).read_text("utf-8"))).splitlines(keepends=True)
        lines = [line for line in shown if line.startswith(beginning.format(model=model))]
        assert lines, f"{page} does not show {beginning}"
        found += lines
    calls = [line for line in found if line.startswith("face-embedding ")]

    def run(line: str) -> None:
        subprocess.run(line.split(), check=True, cwd=folder, env=variables)

    for line in found:
        if line not in calls:
            run(line)
    with served(command, folder, variables) as variables["FACE_EMBEDDING_ADDRESS"]:
        for line in calls:
            run(line)


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


def test_number_of_models() -> None:
    """The README says how many models can be installed."""
    assert f"[{len(manifest.names())} models]" in README


def test_pictures() -> None:
    """The pictures that the README shows are there, and small."""
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 150_000 for picture in pictures)


def test_secure_commands(folder: Path, store: Store, tmp_path: Path) -> None:
    """The commands for production are run as they stand, with the access file that is shown."""
    page = (DOCS / "security.md").read_text("utf-8")
    section = page.partition("\n## Step by step\n")[2].partition("\n## ")[0]
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made = issue(tmp_path / "made", authority, "localhost")
    made.certificate.rename(folder / "server.pem")
    made.key.rename(folder / "server.key")
    (block,) = blocks("text", section)
    token, serve, embed = (line.split() for line in block.splitlines())
    variables = environment(store.root)

    def run(command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=folder, env=variables, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    made_token = dict(line.split() for line in run(token).splitlines())
    (folder / "token").write_text(made_token["token"])
    (access,) = blocks("toml", section)
    digest = re.compile(r'(?<=sha256 = ")[0-9a-f]{64}')
    assert digest.search(access)
    (folder / "access.toml").write_text(digest.sub(made_token["sha256"], access))
    # Free ports instead of those that are shown.
    serve = [re.sub(r":(50051|9090)$", ":0", word) for word in serve]
    with subprocess.Popen(
        serve,
        cwd=folder,
        env=variables,
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
