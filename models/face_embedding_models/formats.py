"""The formats of weights: which files each consists of."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Format = Literal["mxnet", "onnx"]
SYMBOL_FILE = "model-symbol.json"
PARAMS_FILE = "model-0000.params"
ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class Part:
    """A file of a format: what it is called in the store, and how its name ends elsewhere."""

    name: str
    suffix: str


PARTS: dict[Format, tuple[Part, ...]] = {
    "mxnet": (Part(PARAMS_FILE, "-0000.params"), Part(SYMBOL_FILE, "-symbol.json")),
    "onnx": (Part(ONNX_FILE, ".onnx"),),
}
# The backend that runs a format as it is, and that others are held against.
REFERENCE_BACKENDS: dict[Format, str] = {"mxnet": "mxnet", "onnx": "onnxruntime"}


def digest(format: Format, files: Mapping[str, bytes]) -> str:  # noqa: A002  # a format is meant
    """Return the SHA-256 that identifies weights: that of their files one after the other.

    Anyone can recompute it: `cat model-0000.params model-symbol.json | sha256sum`.
    """
    state = hashlib.sha256()
    for part in PARTS[format]:
        state.update(files[part.name])
    return state.hexdigest()
