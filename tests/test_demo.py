"""`make demo`, with real weights and without."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import MOBILE, encode, person

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
# For the model of the test data: its photographs of one person are at 0.59 and more, of two people
# at 0.26 and less.
THRESHOLD = "0.4"


def demo(store: Path, photographs: list[Path], *options: str, offline: bool = False) -> str:
    """Run the demonstration, and return what it prints."""
    command = [sys.executable, str(DEMO), "--store", str(store), "--threshold", THRESHOLD]
    command += ["--photographs", *map(str, photographs), *options]
    environment = {k: v for k, v in os.environ.items() if k != "FACE_EMBEDDING_OFFLINE"}
    environment |= {"XDG_CACHE_HOME": str(store)}
    if offline:
        environment |= {"FACE_EMBEDDING_OFFLINE": "1"}
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def host(test_data: Path) -> Iterator[str]:
    """The address of a web server that has the published archive of a small model."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = str(test_data / "models")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download(test_data: Path, host: str, tmp_path: Path) -> None:
    """With weights from a host, one person's photographs match, and two people's do not."""
    photographs = [
        test_data / "faces" / "photos" / f"{name}.jpg"
        for name in ("person00_00", "person00_01", "person01_00")
    ]
    options = ["--model", MOBILE, "--", "--from", f"{host}/model-y1.zip", "--accept-license"]
    printed = demo(tmp_path, photographs, *options)
    assert "the published weights, verified" in printed
    assert "person00_00.jpg and person00_01.jpg, the same person: 0." in printed
    assert [line.split(", ")[-1] for line in printed.splitlines() if " person: " in line] == [
        "match",
        "no match",
    ]


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "unreachable"])
def test_stand_in(offline: bool, tmp_path: Path) -> None:
    """Where nothing is downloaded, it runs on a stand-in, and says what that means."""
    photograph = tmp_path / "person.jpg"
    photograph.write_bytes(encode(person(), ".jpg"))
    unreachable = ["--", "--from", "http://127.0.0.1:1/model.onnx"]
    printed = demo(tmp_path, [photograph] * 3, *unreachable, offline=offline)
    assert ("not tried, as FACE_EMBEDDING_OFFLINE is set" in printed) == offline
    assert "a stand-in instead: the network of face-recognition-resnet34-arcface" in printed
    assert "which means nothing, as the weights are made up" in printed
