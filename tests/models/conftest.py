"""What the tests of model files share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from face_embedding_server.cli.main import main
from face_embedding_server.inference.backends import mxnet as mxnet_backend
from support import WITH_MXNET
from support.broken_onnx import MANIFEST


@pytest.fixture(scope="session", params=[WITH_MXNET])
def mxnet() -> Any:
    """MXNet itself, the reference."""
    # What MXNet needs of its surroundings is known in one place only.
    return mxnet_backend._import_mxnet()


@pytest.fixture
def take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Import an ONNX file with a manifest; return the exit status, and what is told."""

    def take(
        data: bytes | None, text: str | None = MANIFEST, name: str = "mine"
    ) -> tuple[int, str]:
        file, described = tmp_path / "model.onnx", tmp_path / "manifest.toml"
        if data is not None:
            file.write_bytes(data)
        if text is not None:
            described.write_text(text)
        arguments = ["models", "import", name, str(file), "--manifest", str(described)]
        store = ["--store", str(tmp_path / "store")]
        status = main([*arguments, "--allow-unverified", *store])
        return status, capsys.readouterr().err.replace(str(tmp_path), "DIR")

    return take


@pytest.fixture
def expect_refusal(take: Callable[..., tuple[int, str]], tmp_path: Path) -> Callable[..., None]:
    """Expect an import to be refused with a message, and the store to hold nothing after it."""

    def expect(message: str, *given: bytes | str | None) -> None:
        status, told = take(*(given or (None,)))
        licence, _, error = told.rpartition("face-embedding-server: error: ")
        assert (status, error) == (2, f"{message}\n")
        assert licence in ("", "licence of the weights: mine. For tests.\n")
        assert not list((tmp_path / "store").rglob("*"))

    return expect
