"""The short form of the soak: all that callers do, rightly and wrongly, at the same time."""

from pathlib import Path

import soak
from promises import Figures, Noted, Promise, scenario

from support.processes import serving

_SECONDS = 45


@scenario(
    Promise(f"mixed load for {_SECONDS} s: calls that failed", 0),
    Promise(f"mixed load for {_SECONDS} s: memory's growth after the warm-up", 20, "MB"),
    Promise(f"mixed load for {_SECONDS} s: memory's peak", 500, "MB"),
)
def _mixed(store: Path) -> Figures:
    with serving(store) as running:
        report = soak.soak(running, _SECONDS)
    faults = [f"of {report.calls.total():,}", *report.failures]
    yield Noted(report.failures.total(), ", ".join(faults))
    yield report.growth_mb
    yield report.peak_mb


SCENARIOS = (_mixed,)
