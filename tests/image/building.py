"""The image of `deploy/Dockerfile`, built by buildah on a base of Debian's own packages.

Nothing is fetched but packages of Debian and PyPI: what stands in for the base image has the same
release of Debian and of Python under the same name.
"""

import configparser
import contextlib
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "image"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# python:3.11-slim-bookworm, whose Python is Debian's.
BASE, PYTHON, RELEASE = re.search(
    r"^FROM (python:([\d.]+)-slim-(\w+))$", DOCKERFILE.read_text("utf-8"), re.M
).groups()
_WHERE = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
_MB = 1_000_000


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Print how long a step takes."""
    began = time.monotonic()
    yield
    print(f"\n{name}: {time.monotonic() - began:.1f} s", flush=True)


def buildah(*arguments: str) -> str:
    """Run buildah with its storage under `build`, and return what it prints."""
    storage = ("--root", f"{BUILD}/storage", "--runroot", f"{BUILD}/run")
    return run("buildah", *storage, "--storage-driver", "overlay", *arguments)


def run(*command: str) -> str:
    """Run a program and return what it prints; what it says else is shown if it fails."""
    # What is mounted as a cache while an image is built is kept there too.
    environment = {**os.environ, "TMPDIR": str(BUILD / "tmp")}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{result.stdout[-5000:]}{result.stderr[-5000:]}")
    return result.stdout.strip()


def make_base() -> None:
    """Make what stands in for the base image, if it is not there."""
    (BUILD / "tmp").mkdir(parents=True, exist_ok=True)
    if f"{BASE}\n" in buildah("images", "--format", "{{.Name}}:{{.Tag}}") + "\n":
        return
    with step(f"Debian's {RELEASE} in place of {BASE}"):
        container = buildah("from", "scratch")
        folder = buildah("mount", container)
        packages = "python3-venv,python-is-python3"
        run("debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, folder)
        assert run("chroot", folder, "python", "--version").startswith(f"Python {PYTHON}.")
        bundle = Path(folder + CERTIFICATES)
        bundle.parent.mkdir(parents=True, exist_ok=True)
        trusted = ssl.get_default_verify_paths().cafile or CERTIFICATES
        bundle.write_bytes(Path(trusted).read_bytes())
        buildah("commit", "--rm", container, BASE)


def build(tag: str, **arguments: str) -> None:
    """Build the image, with arguments of the build, and with this machine's settings of pip."""
    pip = BUILD / "pip.conf"
    with pip.open("w") as file:
        pip_settings().write(file)
    with step(f"build of {tag}"):
        buildah(
            *("bud", "--isolation", "chroot", "--pull-never", "--format", "docker"),
            *("--volume", f"{pip}:/etc/pip.conf:ro"),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *("--file", str(DOCKERFILE), "--tag", tag, str(ROOT)),
        )


def pip_settings() -> configparser.RawConfigParser:
    """Return where pip finds packages here, by its files and its environment."""
    settings = configparser.RawConfigParser()
    settings["global"] = {"cert": CERTIFICATES}
    # Those of the environment come last, and count.
    for line in run("python3", "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        if (name := name.rpartition(".")[2]) in _WHERE:
            settings["global"][name] = value.strip("'").replace("\\n", "\n  ")
    return settings


def described(tag: str) -> dict[str, Any]:
    """Return an image's configuration, in Docker's form."""
    configuration: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", tag))
    return configuration["Docker"]["config"]


@contextlib.contextmanager
def unpacked(tag: str) -> Iterator[Path]:
    """Give the folder with an image's files."""
    container = buildah("from", "--pull-never", tag)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)


def size_mb(folder: Path) -> float:
    """Return the size of all files of a folder, in MB."""
    files = (each for each in folder.rglob("*") if each.is_file() and not each.is_symlink())
    return sum(each.stat().st_size for each in files) / _MB
