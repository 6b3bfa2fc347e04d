"""A server for a long time under mixed load: it loses no good call, and its memory stays.

`python tests/reliability/soak.py --minutes 30 --store STORE` prints what was measured, and fails
where a promise is broken. The load is all that callers do, rightly and wrongly, at the same time.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import mixed_load

from support.processes import Running, memory_kb, serving

MAX_GROWTH_MB = 20
# 284 MB were measured, in 18 minutes and 149,000 calls, and 468 MB with a leak.
MAX_PEAK_MB = 600
_SAMPLE_S = 0.25
# Until then caches, pools of threads and the allocator's arenas take what they will have.
_WARM_UP = 0.5
_KB_PER_MB = 1024


@dataclass
class Report:
    """What was measured.

    Args:
        seconds: for how long.
        calls: by kind, how many did as they should.
        failures: by kind and fault, how many did not.
        memory_kb: of the server's process, sampled in equal steps.
        peak_kb: the most that it ever had.
    """

    seconds: float
    calls: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    memory_kb: list[int] = field(default_factory=list)
    peak_kb: int = 0

    @property
    def growth_mb(self) -> float:
        """How much memory grew after the warm-up.

        Of the first and of the last part the least counts: images come and go, and a leak stays.
        """
        warm = self.memory_kb[int(len(self.memory_kb) * _WARM_UP) :]
        part = max(1, len(warm) // 4)
        return (min(warm[-part:]) - min(warm[:part])) / _KB_PER_MB

    @property
    def peak_mb(self) -> float:
        return self.peak_kb / _KB_PER_MB

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        found = []
        if self.growth_mb >= MAX_GROWTH_MB:
            found.append(f"memory grew by {self.growth_mb:.1f} MB, allowed are {MAX_GROWTH_MB}")
        if self.peak_mb >= MAX_PEAK_MB:
            found.append(f"memory reached {self.peak_mb:.0f} MB, allowed are {MAX_PEAK_MB}")
        found += [f"{count} times {fault}" for fault, count in self.failures.items()]
        return found

    def table(self) -> str:
        """Return the figures with their bounds, for people."""
        rows = [(kind, f"{count:,} calls", "") for kind, count in sorted(self.calls.items())]
        rows += [
            ("calls that failed", f"{self.failures.total()}", "0"),
            ("memory's growth after warm-up", f"{self.growth_mb:.1f} MB", f"< {MAX_GROWTH_MB} MB"),
            ("memory's peak", f"{self.peak_mb:.0f} MB", f"< {MAX_PEAK_MB} MB"),
        ]
        return "\n".join(f"{name:32}{figure:>16}  {bound}".rstrip() for name, figure, bound in rows)


def soak(running: Running, seconds: float) -> Report:
    """Put a server under mixed load."""
    report, end = Report(seconds), time.monotonic() + seconds
    lock = threading.Lock()

    def repeat(kind: str, act: Callable[[], object]) -> None:
        while time.monotonic() < end:
            try:
                act()
            except Exception as error:
                fault = error.code().name if isinstance(error, grpc.RpcError) else repr(error)
                with lock:
                    report.failures[f"{kind}: {fault}"] += 1
            else:
                with lock:
                    report.calls[kind] += 1

    with grpc.insecure_channel(running.address) as channel:
        acts = mixed_load.acts(channel, running.address, running.metrics_port)
        threads = [threading.Thread(target=repeat, args=each) for each in acts.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_SAMPLE_S)
                report.memory_kb.append(memory_kb(running.pid, "VmRSS"))
        report.peak_kb = memory_kb(running.pid, "VmHWM")
    return report


def main() -> int:
    """Run the load, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--store", type=Path, required=True, help="where MobileFaceNet is")
    options = parser.parse_args()
    with serving(options.store) as running:
        report = soak(running, 60 * options.minutes)
    print(report.table())  # noqa: T201  # The table is what it is for.
    for promise in report.broken:
        print(f"broken: {promise}", file=sys.stderr)  # noqa: T201
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
