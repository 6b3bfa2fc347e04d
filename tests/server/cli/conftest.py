"""The command `models` on a store of each test's own."""

from pathlib import Path
from typing import Any

import pytest

from face_embedding_server.cli.main import main
from support.hosts import Answer, Hosts
from support.made_weights import own_toml
from support.own_model import NETWORK, write_manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the store, which is not there yet."""
    return tmp_path / "store"


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command below `models`; returns its exit status and what it prints."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["models", *arguments, "--store", str(root)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def own(tmp_path: Path, hosts: Hosts) -> str:
    """The path of the manifest of a model of a user's own, which is at a host."""
    return write_manifest(tmp_path, own_toml(NETWORK, hosts.url("/own.onnx", Answer(NETWORK))))
