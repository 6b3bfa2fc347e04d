"""Where a client finds a server, and how a client is run."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from face_embedding_client import Embedding

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BINARIES = Path(sys.executable).parent


@dataclass(frozen=True)
class Endpoint:
    """A server's address, and the files with which a caller gets in."""

    address: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None

    @property
    def token(self) -> str:
        return self.token_file.read_text() if self.token_file else ""

    @property
    def flags(self) -> list[str]:
        """The options of the examples that have our own command's."""
        options = {
            "address": self.address,
            "ca": self.ca,
            "certificate": self.certificate,
            "key": self.key,
            "token-file": self.token_file,
        }
        return [f"--{name}={value}" for name, value in options.items() if value]


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program with those variables, and with what is installed beside Python on its path."""
    path = f"{BINARIES}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | variables
    return subprocess.run(
        command, check=False, cwd=cwd, env=environment, capture_output=True, text=True
    )


def output(command: Sequence[str | Path], *, cwd: Path | None = None, **variables: str) -> str:
    """Run a program that has to succeed, and return what it printed."""
    result = run(command, cwd=cwd, **variables)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def cosine(values: Sequence[float], expected: Embedding) -> float:
    """Return the cosine similarity of what a client got to what our own got, whose norm is 1."""
    assert len(values) == len(expected.values)
    return float(np.dot(values, expected.values) / np.linalg.norm(values))
