"""Converting an ONNX file in a process of its own, with limits on memory and time.

Files come from anywhere, and the libraries that parse them are written for files that are well.
What a file makes them do ends with that process.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov

from face_embedding_models import manifest
from face_embedding_models.errors import ConversionError, ModelError, UnsupportedOperatorError
from face_embedding_models.manifest import Manifest

# Measured with OpenVINO 2026.4 and two processors: 0.2 GiB for a file of 4 MB, and beyond that 6
# times the size of a float file (1.6 GiB for 261 MB), or 12 times that of a float16 one (1.5 GiB
# for 131 MB). The rest is room, also for the threads of larger machines.
BASE_BYTES = 2 << 30
BYTES_PER_BYTE = 16
TIME_LIMIT_S = 300
_NETWORK_FILE = "network.xml"
_MANIFEST_FILE = "manifest.json"
_REFUSAL_FILE = "refusal"
_REFUSED, _OUT_OF_MEMORY = 3, 4
_KINDS = {kind.__name__: kind for kind in (ConversionError, UnsupportedOperatorError)}


def convert(path: Path, known: Manifest, folder: Path) -> ov.Model:
    """Convert an ONNX file as `conversion.convert` does, in a process of its own.

    The network embeds a face there, so that it is known not to need more than the limits either.

    Args:
        path: the file.
        known: what is known of it.
        folder: an empty folder, for what the process makes.

    Raises:
        ConversionError: as there, or if the process needs more memory or time than its limits, or
            ends otherwise.
    """
    (folder / _MANIFEST_FILE).write_text(manifest.to_json(known), "utf-8")
    # It imports nothing from the folder that it is started in.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", __name__, str(path), str(folder)]
    try:
        done = subprocess.run(  # noqa: S603  # This module itself.
            command, check=False, capture_output=True, timeout=TIME_LIMIT_S, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(
            f"{known.name}: converting it took more than {TIME_LIMIT_S} s; is the file damaged?"
        ) from error
    if done.returncode == _REFUSED:
        kind, _, message = (folder / _REFUSAL_FILE).read_text("utf-8").partition(" ")
        raise _KINDS.get(kind, ConversionError)(f"{known.name}: {message}")
    if done.returncode == _OUT_OF_MEMORY:
        raise ConversionError(
            f"{known.name}: converting it needs more than {_memory_limit(path) >> 20} MiB of "
            f"memory; is the file damaged?"
        )
    if done.returncode != 0:
        raise ConversionError(
            f"{known.name}: converting it ended with {_ending(done.returncode)}, at a limit of "
            f"{_memory_limit(path) >> 20} MiB of memory; the file is damaged, or needs more"
        )
    return ov.Core().read_model(folder / _NETWORK_FILE)


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _memory_limit(path: Path) -> int:
    return BASE_BYTES + BYTES_PER_BYTE * path.stat().st_size


def main(path: Path, folder: Path) -> int:
    """Convert a file under limits; return the exit status."""
    # Where a system has no such limit, there is the one on time.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (_memory_limit(path),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    known = manifest.from_json((folder / _MANIFEST_FILE).read_text("utf-8"))
    try:
        # Here, as only who has ONNX files needs what reads them.
        from face_embedding_models.onnx import conversion

        network = conversion.convert(path, known)
        _try_out(network, known)
        ov.save_model(network, folder / _NETWORK_FILE, compress_to_fp16=False)
    except Exception as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):
            return _OUT_OF_MEMORY
        (folder / _REFUSAL_FILE).write_text(f"{type(error).__name__} {_refusal(error)}", "utf-8")
        return _REFUSED
    return 0


def _refusal(error: Exception) -> str:
    if isinstance(error, ModelError):
        return str(error)
    if isinstance(error, ImportError):
        return (
            f"what reads ONNX files cannot be imported ({error}); install it with "
            f"pip install 'face-embedding[server,onnx]'"
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the file cannot be converted: {lines[-1]:.300}"


def _try_out(network: ov.Model, known: Manifest) -> None:
    """Embed a face, as what a network computes may take all memory or time too."""
    compiled = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compiled(np.zeros((1, 3, known.input.height, known.input.width), np.float32))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
