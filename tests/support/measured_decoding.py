"""Decoding image files in a process of their own, which says what each took of it.

Run as a program it reads files from its standard input, each after its length, and writes a line of
JSON for each.
"""

import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from face_embedding_server.errors import Refusal
from face_embedding_server.faces import headers
from face_embedding_server.faces.headers import UnreadableImageError
from face_embedding_server.faces.images import ImageReader
from support.processes import child_environment

_LENGTH = struct.Struct("<I")
_STATUS = Path("/proc/self/status")


class Decoded(NamedTuple):
    """What became of a file: the refusal's message, empty if there was none, and what it took."""

    refusal: str
    announced_pixels: int
    peak_bytes: int
    processor_s: float


def decode_measured(files: Iterable[bytes]) -> list[Decoded]:
    """Decode files one after the other in one child process."""
    child = subprocess.run(
        [sys.executable, "-m", "support.measured_decoding"],
        input=b"".join(_LENGTH.pack(len(file)) + file for file in files),
        stdout=subprocess.PIPE,
        # There the decoders' libraries complain of each file.
        stderr=subprocess.DEVNULL,
        env=child_environment(),
        check=True,
        timeout=200,
    )
    return [Decoded(*json.loads(line)) for line in child.stdout.splitlines()]


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s*(\d+) kB", _STATUS.read_text())
    assert found
    return int(found[1]) << 10


def _pixels(data: bytes) -> int:
    try:
        size = headers.read_size(data)
    except UnreadableImageError:
        return 0
    return size.width * size.height


def _measured(data: bytes) -> Decoded:
    # From here on the peak is that of this file.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    start = time.process_time()
    refusal = ""
    try:
        ImageReader().decode(data)
    except Refusal as error:
        refusal = error.message
    processor_s = time.process_time() - start
    return Decoded(refusal, _pixels(data), _status("VmHWM") - before, processor_s)


def _main() -> None:
    while length := sys.stdin.buffer.read(_LENGTH.size):
        data = sys.stdin.buffer.read(_LENGTH.unpack(length)[0])
        sys.stdout.write(json.dumps(_measured(data)) + "\n")


if __name__ == "__main__":
    _main()
