"""The corpus of fuzzing: every input in it that ever failed does so no more."""

import re
from pathlib import Path

import fuzz_seeds
import pytest
from fuzz_targets import TARGETS

FILES = sorted(path for path in fuzz_seeds.CORPUS.rglob("*") if path.is_file())


# Of the largest image that the targets take there are 3 MB of pixels.
MAX_GROWTH_KB = 64 << 10
needs_peak = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only on Linux")


def status_kb(name: str) -> int:
    """What the kernel tells of this process, such as VmRSS, in KiB."""
    (found,) = re.findall(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    return int(found)


@needs_peak
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_input(file: Path) -> None:
    """An input passes its target, and takes little memory for it."""
    Path("/proc/self/clear_refs").write_text("5")  # The peak is from now on.
    before_kb = status_kb("VmRSS")
    TARGETS[file.parent.name](file.read_bytes())
    assert status_kb("VmHWM") - before_kb < MAX_GROWTH_KB


def test_targets() -> None:
    """Each target has inputs, and each input a target."""
    assert {file.parent.name for file in FILES} == set(TARGETS)
