"""The quota of processors that the control groups of this process leave it.

A group has at most what every group around it has, up to the one that is mounted: systemd's
`CPUQuota` is on a group deep inside, and an orchestrator's often on one around it.

Sources: `cpu.max` and `cpu.cfs_quota_us` in the kernel's documentation of control groups, versions
2 and 1; `/proc/pid/cgroup` in cgroups(7), and `/proc/pid/mountinfo` in proc(5).
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc/self")
_VERSION_2 = ("cpu.max",)
_VERSION_1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
# A mount's root and its place, and after a dash its kind, its device and the controllers.
_MOUNT = re.compile(r"\S+ \S+ \S+ (\S+) (\S+) .* - (cgroup2?) \S+ (\S+)")
_OCTAL = re.compile(r"\\([0-7]{3})")


def quota(cgroup: Path = CGROUP, proc: Path = PROC) -> float | None:
    """Return the least quota of all groups that this process is in, in processors.

    Args:
        cgroup: where control groups are mounted, directly or below.
        proc: what the kernel tells of the process.

    Returns:
        The quota, or None if there is none, or none that can be read.
    """
    quotas = (_quota_of(folder) for folder in _groups(cgroup, proc))
    return min((each for each in quotas if each is not None), default=None)


def _groups(cgroup: Path, proc: Path) -> Iterator[Path]:
    """Yield the folders of the process's own groups, and of those around them."""
    own = dict(_own(proc))
    for place, root, kind in _mounts(cgroup, proc):
        group = PurePosixPath(own.get(kind, "/"))
        # In a container the root may be the container's own group. What is outside has dots in it.
        inside = group.is_relative_to(root) and ".." not in group.parts
        folder = place / group.relative_to(root) if inside else place
        yield folder
        while folder != place:
            folder = folder.parent
            yield folder


def _own(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield the kinds of hierarchies and the process's group in each."""
    for line in _lines(proc / "cgroup"):
        number, controllers, group = line.split(":", 2)
        if number == "0" and not controllers:
            yield "cgroup2", group
        elif "cpu" in controllers.split(","):
            yield "cgroup", group


def _mounts(cgroup: Path, proc: Path) -> list[tuple[Path, str, str]]:
    """Return where hierarchies are mounted, which group is there, and their kinds."""
    mounts = []
    for line in _lines(proc / "mountinfo"):
        if not (found := _MOUNT.fullmatch(line)):
            continue
        root, place, kind, controllers = map(_plain, found.groups())
        has_quotas = kind == "cgroup2" or "cpu" in controllers.split(",")
        if has_quotas and Path(place).is_relative_to(cgroup):
            mounts.append((Path(place), root, kind))
    # Where that is not told, as in some sandboxes.
    return mounts or [(cgroup, "/", "cgroup2"), (cgroup / "cpu", "/", "cgroup")]


def _plain(text: str) -> str:
    """Return a text without the escapes of mountinfo."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), text)


def _quota_of(folder: Path) -> float | None:
    for files in (_VERSION_2, _VERSION_1):
        try:
            quota, period = " ".join((folder / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            return int(quota) / int(period)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
