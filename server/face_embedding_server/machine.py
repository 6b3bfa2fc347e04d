"""How much of the machine this process may use."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the number of processors that the process can keep busy, at least 1.

    It is the smaller of its affinity and of the quota of its control group, rounded up, and not the
    number of processors of the host: threads beyond it would only be throttled.

    Sources: `sched_getaffinity(2)`; `cpu.max` and `cpu.cfs_quota_us` in the kernel's documentation
    of control groups, versions 2 and 1.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the quota in processors, or None if there is none."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and int(period) > 0:
            return int(quota) / int(period)
    return None
