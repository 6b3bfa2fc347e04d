"""Files and metrics through Envoy, and the commands that are shown."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_calls import ROOT, call
from proxies import Proxy, proxying

from face_embedding_models.store import Store
from support import MOBILE, encode, person
from support.processes import Running, free_port


@pytest.fixture(scope="module")
def page(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Envoy serves a folder beside a file that is not in it."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page").mkdir()
    (folder / "page" / "index.html").write_text("<!doctype html>")
    (folder / "page" / "page.js").write_text("1")
    (folder / "beside").write_text("secret")
    with proxying([running.port], folder, page=folder / "page") as made:
        yield made.address


def test_files(page: str) -> None:
    """The page's files are there with their types, and all that calls are, too."""
    start, script = (call(f"http://{page}/{path}") for path in ("", "page/page.js"))
    assert (start.content, start.headers["content-type"]) == (
        b"<!doctype html>",
        "text/html; charset=utf-8",
    )
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert call(f"http://{page}/v1/models").status_code == 200


@pytest.mark.parametrize("path", ["../beside", "..%2fbeside", "%2e%2e/beside", "/../beside", "x"])
def test_no_other_files(path: str, page: str) -> None:
    """Nothing beside the page can be had."""
    with contextlib.closing(http.client.HTTPConnection(page)) as connection:
        connection.request("GET", f"/page/{path}")
        response = connection.getresponse()
        assert response.status in (400, 404)
        assert b"secret" not in response.read()


def test_metrics_are_kept(url: str) -> None:
    """Metrics are not passed on, unless the operator says so."""
    assert call(f"{url}/metrics").status_code == 404


@pytest.mark.parametrize("port", ["0", "65536"])
def test_no_port(port: str, store: Store) -> None:
    """A port that nothing can be asked for at is refused at once."""
    command = [sys.executable, ROOT / "deploy" / "gateway" / "on_loopback.py", "--port", port]
    command += ["--store", store.root, "--model", MOBILE]
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, timeout=60)
    assert (done.returncode, b"argument --port: invalid" in done.stderr) == (2, True)


def test_on_loopback(store: Store) -> None:
    """One command runs server and Envoy, and says how to call them; Ctrl-C ends both."""
    port = free_port()
    command = [sys.executable, ROOT / "deploy" / "gateway" / "on_loopback.py", "--metrics"]
    command += ["--store", store.root, "--model", MOBILE, "--port", str(port)]
    command += ["--", "--detector", "none"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = "".join(iter(process.stdout.readline, "Ctrl-C ends both\n"))
        (curl,) = re.findall(r"curl .*", told)
        models = subprocess.run(curl.split(), check=True, capture_output=True).stdout
        metrics = call(f"http://127.0.0.1:{port}/metrics").content
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert MOBILE in models.decode()
    assert b"face_embedding_requests_total" in metrics
    for address in re.findall(r"127\.0\.0\.1:(\d+)", told):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(address))) != 0


COMMANDS = [
    (page, block)
    for page in ("README.md", "docs/gateway.md")
    for block in re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
]


@pytest.mark.parametrize(("shown_in", "command"), COMMANDS)
def test_commands(shown_in: str, command: str, proxy: Proxy, tmp_path: Path) -> None:
    """The commands that are shown are answered."""
    assert "curl" in command, shown_in
    (tmp_path / "photo-a.jpg").write_bytes(encode(person(), ".jpg"))
    shell = ["bash", "-euo", "pipefail", "-c", command.replace("127.0.0.1:50050", proxy.address)]
    done = subprocess.run(shell, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert '"code"' not in done.stdout
    assert done.stdout.startswith("{")
