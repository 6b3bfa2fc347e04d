"""How many processors are used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from face_embedding_server.inference.threads import available_cpus

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ALL),
        ({"cpu.max": "max 100000\n"}, ALL),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100100 100000\n"}, min(2, ALL)),
        ({"cpu.max": "99900000 100000\n"}, ALL),
        ({"cpu.max": "junk\n"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "70000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
    ids=[
        "none",
        "no limit",
        "half",
        "a little over one",
        "more than there are",
        "junk",
        "v1 none",
        "v1",
    ],
)
def test_quota(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    """The quota of the control group counts, rounded up, but no more than the affinity."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == expected


def test_affinity() -> None:
    """A process that is bound to one processor uses one."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from face_embedding_server.inference.threads import available_cpus;"
        "print(available_cpus())"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "1\n"
