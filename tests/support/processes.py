"""A server as a process, by its real command line, and what the kernel knows of it."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support import MOBILE

SERVE = ("-m", "face_embedding_server")
FAULTY = str(Path(__file__).with_name("faulty_server.py"))
_TIMEOUT_S = 60
_KB_PER_MB = 1024


@dataclass(frozen=True)
class Running:
    """A server's process, and where it answers."""

    process: subprocess.Popen[str]
    address: str
    metrics_port: int

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def peak_mb(self) -> float:
        """The most memory that it ever had, or had since `forget_peak`."""
        return memory_kb(self.pid, "VmHWM") / _KB_PER_MB

    def forget_peak(self) -> float:
        """Measure the peak of the memory from now on; return what it has now, in MB."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return memory_kb(self.pid, "VmRSS") / _KB_PER_MB

    def metric(self, line: str) -> float:
        """Return a metric by its name with its labels, without the prefix; 0 if it is not there."""
        text = rf"^face_embedding_{re.escape(line)} (\S+)$"
        found = re.search(text, self.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0

    def metrics(self) -> str:
        """Return all metrics, as text."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            text: str = response.read().decode()
        return text


@contextlib.contextmanager
def serving(
    store: Path,
    *flags: str,
    program: Sequence[str] = SERVE,
    model: str = MOBILE,
    log: int | IO[str] | None = None,
) -> Iterator[Running]:
    """Run a server of a model in a store as a process, until the block ends.

    Args:
        store: the folder with the models.
        flags: more of the command line.
        model: which of them.
        program: what follows Python on the command line, before `serve`.
        log: where the server's log goes; as `stderr` of `subprocess`.
    """
    metrics_port = free_port()
    command = [sys.executable, *program, "serve", "--model", model, "--store", str(store)]
    command += ["--address", "127.0.0.1:0", "--metrics-address", f"127.0.0.1:{metrics_port}"]
    command += ["--log-level", "error", "--drain-s", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert " on " in line, f"the server did not start: {' '.join(command)}"
            yield Running(process, line.split(" on ")[1].split()[0], metrics_port)
        finally:
            process.terminate()
            try:
                process.wait(_TIMEOUT_S)
            finally:
                process.kill()


def memory_kb(pid: int, name: str) -> int:
    """Return what the kernel tells of a process's memory, such as VmRSS, in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, f"there is no {name} of process {pid}"
    return int(found[1])


def child_environment(*folders: Path) -> dict[str, str]:
    """Return the environment for a Python program that imports what this one can, and folders'."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), *sys.path])}


def free_port() -> int:
    """Return a port of loopback that was free just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
