"""The quota of a process whose control group is inside others."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from face_embedding_server.inference.control_groups import quota
from face_embedding_server.inference.threads import available_cpus

V1_CONTROLLER = Path("/sys/fs/cgroup/cpu")
Machine = Callable[..., float | None]


@pytest.fixture(params=[1, 2])
def quota_of(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """The quota of a process in a group, on a machine with groups of version 1 or 2."""
    version = request.param
    cgroup, proc = tmp_path / "c g", tmp_path / "proc"
    place = cgroup / "cpu,cpuacct" if version == 1 else cgroup

    def quota_of(own: str, quotas: dict[str, str], root: str = "/") -> float | None:
        for name, given in quotas.items():
            folder = place / name
            folder.mkdir(parents=True, exist_ok=True)
            if version == 1:
                (folder / "cpu.cfs_quota_us").write_text(f"{given.replace('max', '-1')}\n")
                (folder / "cpu.cfs_period_us").write_text("100000\n")
            else:
                (folder / "cpu.max").write_text(f"{given} 100000\n")
        shown = str(place).replace(" ", "\\040")
        kind = "cgroup cgroup rw,cpu,cpuacct" if version == 1 else "cgroup2 cgroup rw,nsdelegate"
        proc.mkdir()
        (proc / "mountinfo").write_text(
            f"29 23 0:25 / {tmp_path} rw - ext4 /dev/sda rw\n"
            f"31 29 0:31 / {cgroup}/cpuset rw - cgroup cgroup rw,cpuset\n"
            f"30 29 0:26 {root} {shown} rw,nosuid shared:4 - {kind}\n"
        )
        lines = ["5:cpuset:/elsewhere", f"4:cpu,cpuacct:{own}", "1:name=systemd:/a:b", "0::/x"]
        (proc / "cgroup").write_text("\n".join(lines if version == 1 else [f"0::{own}"]) + "\n")
        return quota(cgroup, proc)

    return quota_of


CASES = {
    "own": ("/system.slice/faces.service", {"system.slice/faces.service": "50000"}, 0.5),
    "around": ("/a/b/c", {"a/b/c": "max", "a/b": "max", "a": "150000"}, 1.5),
    "root": ("/a/b", {"a/b": "max", "": "70000"}, 0.7),
    "least is own": ("/a/b", {"a/b": "30000", "a": "50000", "": "70000"}, 0.3),
    "least is around": ("/a/b", {"a/b": "90000", "a": "20000", "": "70000"}, 0.2),
    "another group": ("/a/b", {"a/b": "max", "a/c": "20000", "d": "10000"}, None),
    "a colon": ("/a:b", {"a:b": "50000"}, 0.5),
    "not there": ("/gone/b", {"": "50000"}, 0.5),
    "outside": ("/../../b", {"": "50000", "b": "10000"}, 0.5),
    "none": ("/a", {"a": "max", "": "max"}, None),
}


@pytest.mark.parametrize(("own", "quotas", "expected"), CASES.values(), ids=CASES)
def test_groups(
    own: str, quotas: dict[str, str], expected: float | None, quota_of: Machine
) -> None:
    """The least quota of a group and of all around it counts, and those of no other."""
    assert quota_of(own, quotas) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("own", "expected"), [("/docker/1/job", 0.5), ("/docker/1", 2.0), ("/docker/2/job", 2.0)]
)
def test_container(own: str, expected: float, quota_of: Machine) -> None:
    """Where a container's own group is mounted, groups are looked for below that."""
    quotas = {"": "200000", "job": "50000", "docker": "10000"}
    assert quota_of(own, quotas, "/docker/1") == expected


def test_without_proc(tmp_path: Path) -> None:
    """Where nothing is told of the process, the mounted group counts."""
    (tmp_path / "cpu.max").write_text("70000 100000\n")
    assert quota(tmp_path, tmp_path / "nowhere") == pytest.approx(0.7)
    assert available_cpus(tmp_path, tmp_path / "nowhere") == 1


@pytest.mark.skipif(
    not os.access(V1_CONTROLLER, os.W_OK) or not (V1_CONTROLLER / "cpu.cfs_quota_us").exists(),
    reason="no control groups of version 1 that this user may make",
)
def test_real_group() -> None:
    """A process in a group with half a processor, as systemd makes them, uses one."""
    folder = V1_CONTROLLER / f"face-embedding-test-{os.getpid()}"
    folder.mkdir()
    code = (
        "import os, pathlib, sys;"
        "pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()));"
        "from face_embedding_server.inference.control_groups import quota;"
        "print(quota())"
    )
    try:
        (folder / "cpu.cfs_quota_us").write_text("50000")
        command = [sys.executable, "-c", code, str(folder)]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "0.5\n"
    finally:
        folder.rmdir()
