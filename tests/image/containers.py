"""A container of Linux's namespaces, confined as the compose file says.

It is what a container engine would make, but for its control groups and its filter of system calls.
"""

import os
import shlex
import signal
import subprocess
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
SERVICES = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
_TIMEOUT_S = 60


class Container:
    """A program of an image, as process 1 of namespaces of its own, until the block ends.

    Args:
        files: the folder with the image's files.
        image: the image's configuration.
        service: the service of the compose file.
        volumes: what is mounted for each source that the service names.
    """

    def __init__(
        self,
        files: Path,
        image: Mapping[str, Any],
        service: Mapping[str, Any],
        volumes: Mapping[str, Path],
    ) -> None:
        self.image = image
        self._become = _become(image["User"], service)
        self._environment = [
            *image["Env"],
            *(f"{name}={value}" for name, value in service.get("environment", {}).items()),
        ]
        program = [*image["Entrypoint"], *service.get("command", image["Cmd"])]
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork"),
                *("--propagation", "private"),
                *("sh", "-euc", _script(files, service, volumes)),
                *("sh", *self._become, "env", "-i", *self._environment, *program),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        # The end of process 1 is that of all in its container.
        if self._process.poll() is None:
            self.kill(signal.SIGKILL)
        self._process.communicate()

    def wait_for(self, words: str) -> None:
        """Wait until a line of its output has these words."""
        assert self._process.stdout
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if words in line:
                return
        raise AssertionError(f"it ended without saying {words!r}:\n{''.join(seen)}")

    def wait(self) -> tuple[int, str]:
        """Wait until it ends; return its exit status, and what it printed meanwhile."""
        output, _ = self._process.communicate(timeout=_TIMEOUT_S)
        return self._process.returncode, output

    @property
    def pid(self) -> int:
        """The process, as it is seen from outside."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text())

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal; of most, process 1 heeds only those that it handles."""
        os.kill(self.pid, number)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another program in the container, as the same user, confined as it is."""
        enter = ("nsenter", f"--target={self.pid}", "--all", "--root", "--wd")
        return _run(*enter, *self._become, "env", "-i", *self._environment, *command)

    def run_beside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the container's network."""
        return _run("nsenter", f"--target={self.pid}", "--net", *command)


# Starts a server as a service of the compose file's form says.
Start = Callable[[Mapping[str, Any]], Container]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)


def _become(user: str, service: Mapping[str, Any]) -> list[str]:
    """The start of a command that gives up what the service says."""
    uid, gid = user.split(":")
    become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    if service["cap_drop"] == ["ALL"]:
        become += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    if "no-new-privileges:true" in service["security_opt"]:
        become += ["--no-new-privs"]
    return become


def _script(files: Path, service: Mapping[str, Any], volumes: Mapping[str, Path]) -> str:
    """The shell's commands that lay out the namespaces, and become the program."""
    root = shlex.quote(str(files))
    lines = [f"mount --bind {root} {root}", f"cd {root}"]
    # Some of /dev, and a /proc of these processes alone.
    lines += textwrap.dedent("""
        mount -t proc -o nosuid,nodev,noexec proc proc
        mount -t tmpfs -o nosuid,mode=755 tmpfs dev
        for name in null zero full random urandom; do
            touch dev/$name
            mount --bind /dev/$name dev/$name
        done
        ip link set lo up
    """).splitlines()
    for folder in service.get("tmpfs", ()):
        lines.append(f"mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs .{folder}")
    for source, target, *options in (each.split(":") for each in service.get("volumes", ())):
        lines += [f"mkdir -p .{target}", f"mount --bind {volumes[source]} .{target}"]
        if options == ["ro"]:
            lines.append(f"mount -o remount,bind,ro .{target}")
    if service["read_only"]:
        lines.append(f"mount -o remount,bind,ro {root}")
    # Of the user, as a limit of the container is a control group's.
    limit = f"prlimit --nproc={service['pids_limit']}" if "pids_limit" in service else ""
    return "\n".join([*lines, f'exec {limit} chroot . "$@"'])
