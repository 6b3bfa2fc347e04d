"""Writing an IR, and saying why it cannot be written, which OpenVINO does not."""

import math
import os
import tempfile
from pathlib import Path

import openvino as ov

from face_embedding_models.errors import StoreError


def write(network: ov.Model, path: Path) -> None:
    """Write an IR as it is, its weights beside its graph.

    Raises:
        StoreError: if there is no room for it, or it cannot be written otherwise.
    """
    try:
        ov.save_model(network, path, compress_to_fp16=False)
    except RuntimeError as error:
        needed = _bytes(network)
        reason = _no_room(path.parent, needed) or f"OpenVINO says {error}"
        raise StoreError(f"cannot write {path}, {needed:,} bytes: {reason}") from error


def _bytes(network: ov.Model) -> int:
    """Return how large the weights are, and so nearly all of the IR."""
    constants = [node for node in network.get_ops() if node.get_type_name() == "Constant"]
    return sum(
        math.prod(node.get_output_shape(0)) * node.get_output_element_type(0).size
        for node in constants
    )


def _no_room(folder: Path, needed: int) -> str:
    """Return what the system says if that many bytes cannot be written; nothing if they can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        return error.strerror or str(error)
    return ""
