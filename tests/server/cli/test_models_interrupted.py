"""Installs, imports and conversions that end before their time."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from face_embedding_models.store import Store
from support.hosts import Answer, Hosts
from support.made_weights import OWN, zipped
from support.own_model import ETAG, NETWORK, facts, tree

pytestmark = pytest.mark.slow
# So large that a transfer of it can break off.
PACK = zipped({"pack/own.onnx": NETWORK, "x": random.Random(0).randbytes(99_999)})


def start(root: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "face_embedding_server", "models", *arguments]
    program = "from face_embedding_server.cli.main import main; import sys; sys.exit(main())"
    command[1:3] = ["-c", program]
    return subprocess.Popen(
        [*command, "--store", str(root)], stderr=subprocess.PIPE, text=True, **options
    )


@contextmanager
def stalled(root: Path, hosts: Hosts, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run an install in a process of its own, until the transfer has stalled after a half."""
    hosts.answers["/pack.zip"] = Answer(PACK, headers=ETAG, stall=60_000)
    with start(root, *arguments) as process:
        assert hosts.stalled.wait(60)
        yield process


@pytest.mark.parametrize("verb", ["install", "import"])
def test_killed_download(
    run: Any, root: Path, own: str, hosts: Hosts, own_cache: Path, verb: str
) -> None:
    """What a killed process had received is used by the next one, and nothing is left."""
    url = hosts.url("/pack.zip")
    sources = ("--from", url) if verb == "install" else (url,)
    command = (verb, OWN, *sources, "--manifest", own)
    with stalled(root, hosts, *command) as process:
        received(own_cache)
        process.kill()
    hosts.answers["/pack.zip"] = Answer(PACK, headers=ETAG)
    hosts.requests.clear()
    assert facts(run, *command)["origin"] == "published"
    assert hosts.ranges == ["bytes=49152-"]
    assert (list(own_cache.iterdir()), list(root.rglob(".pending*"))) == ([], [])


def received(cache: Path) -> None:
    """Wait until what was sent is there."""
    while not any(path.stat().st_size >= 49152 for path in cache.glob("*.part")):
        os.sched_yield()


def test_interrupted_download(root: Path, own: str, hosts: Hosts, own_cache: Path) -> None:
    """Ctrl-C ends a download with status 130 and no traceback, and it can go on later."""
    command = ("install", OWN, "--from", hosts.url("/pack.zip"), "--manifest", own)
    with stalled(root, hosts, *command) as process:
        received(own_cache)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert err.endswith("interrupted\n")
    assert len(list(own_cache.glob("*.part"))) == 1


def await_conversion(process: subprocess.Popen[str], root: Path, verb: str) -> None:
    """Wait until the weights are sealed, in a folder that nobody sees yet, or are there already."""
    pattern = ".pending-*/checkpoint" if verb == "install" else f"{OWN}/*/.pending-*"
    while not list(root.glob(pattern)):
        assert process.poll() is None
        os.sched_yield()


@pytest.mark.parametrize("verb", ["install", "convert"])
def test_killed_conversion(run: Any, root: Path, own: str, verb: str) -> None:
    """What a killed process was converting is never seen, and the next command removes it."""
    if verb == "convert":
        run("install", OWN, "--manifest", own)
    before = Store(root).names()
    command = (verb, OWN, *(("--manifest", own) if verb == "install" else ()))
    with start(root, *command) as process:
        await_conversion(process, root, verb)
        process.kill()
    assert (Store(root).names(), bool(list(root.rglob(".pending*")))) == (before, True)
    assert facts(run, *command)
    assert not list(root.rglob(".pending*"))


def test_interrupted_conversion(root: Path, own: str) -> None:
    """Ctrl-C ends a conversion with status 130 and no traceback, and leaves nothing."""
    command = ("install", OWN, "--manifest", own)
    with start(root, *command, start_new_session=True) as process:
        await_conversion(process, root, "install")
        os.killpg(process.pid, signal.SIGINT)  # As a terminal does.
        _, err = process.communicate()
    assert (process.returncode, "Traceback" in err, list(root.iterdir())) == (130, False, [])


def test_full_disk(root: Path, own: str, hosts: Hosts, tmp_path: Path) -> None:
    """A disk that is full is an error that says so, and the store is as it was."""
    url = hosts.url("/pack.zip", Answer(PACK))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = ("install", OWN, "--from", url, "--manifest", own)
    # What measures the tests' coverage would fail to write too, and say so.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    with start(root, *command, preexec_fn=limit, cwd=tmp_path, env=environment) as process:
        _, err = process.communicate()
    assert (process.returncode, tree(root), "Traceback" in err) == (2, {}, False)
    assert "it cannot be written to" in err
