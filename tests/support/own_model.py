"""A small network of a user's own, and what tests of commands about models look at."""

import json
from pathlib import Path
from typing import Any

from support.made_weights import onnx_of

NETWORK = onnx_of()
ETAG = {"ETag": '"1"'}


def write_manifest(folder: Path, text: str) -> str:
    (folder / "own.toml").write_text(text)
    return str(folder / "own.toml")


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


def facts(run: Any, *arguments: str) -> dict[str, Any]:
    status, out, err = run(*arguments, "--json")
    assert status == 0, err
    told: dict[str, Any] = json.loads(out)
    return told
