"""A Ray cluster of two nodes on this machine, on loopback, and what becomes of its processes."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "ray"

# Before Ray is imported, and for all that is started from here.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    # All of it listens on loopback, as it does by default elsewhere.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Otherwise one is written to the home folder.
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # A machine that does much else takes long to start it.
    "RAY_raylet_start_wait_time_s": "90",
    "RAY_agent_register_timeout_ms": "300000",
    # Workers would wait for all else that this machine does.
    "RAY_worker_niceness": "0",
    # Both nodes are this machine: the second one needs ports of its own for Ray Serve.
    "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(free_port()),
    "RAY_SERVE_WORKER_PROXY_GRPC_PORT": str(free_port()),
}

from ray.cluster_utils import Cluster  # noqa: E402

_NODE = {
    "num_cpus": 1,
    "object_store_memory": 100 << 20,
    "node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
}


@dataclass(frozen=True)
class TwoNodes:
    """A cluster: its address, and its second node."""

    cluster: Cluster
    second: Any

    @property
    def address(self) -> str:
        """Where it is reached."""
        address: str = self.cluster.address
        return address

    def worker(self) -> int | None:
        """Return the process of the worker on the second node; None if there is none now."""
        return next(_actors(self.second, b"MapWorker"), None)

    def replicas(self) -> int:
        """Return how many replicas serve."""
        nodes = (self.cluster.head_node, self.second)
        return sum(1 for node in nodes for _ in _actors(node, b"ServeReplica"))

    def kill_second(self) -> None:
        """Kill all processes of the second node."""
        self.cluster.remove_node(self.second, allow_graceful=False)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Run a cluster of two nodes with a processor each."""
    # Sockets are in it, whose paths may not be long.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = folder
    cluster = Cluster()
    try:
        _added(cluster)
        yield TwoNodes(cluster, _added(cluster))
    finally:
        cluster.shutdown()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def _added(cluster: Cluster) -> Any:
    """Add a node; once more if it does not come up, as one of some ten that Ray starts."""
    try:
        return cluster.add_node(**_NODE)
    except Exception:
        return cluster.add_node(**_NODE)


def program(name: str, *arguments: str, log: Path) -> "subprocess.Popen[str]":
    """Start a program of deploy/ray, with what it prints in a file."""
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, str(FOLDER / name), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )


def kill(pid: int) -> None:
    """End a process without a word to it."""
    os.kill(pid, signal.SIGKILL)


def _actors(node: Any, name: bytes) -> Iterator[int]:
    """Yield the processes of a node that Ray has given a name."""
    raylet = node.all_processes["raylet"][0].process.pid
    for process in Path("/proc").glob("[0-9]*"):
        try:
            _, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == raylet and name in (process / "cmdline").read_bytes():
                yield int(process.name)
        except OSError:  # It ended meanwhile.
            continue
