"""More calls than a server can answer: what is answered in time, and what the others get."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_loop
from callers import TIMEOUT_S, health_timed, p99
from mixed_load import ALIGNED
from promises import Figures, Noted, Promise, Scenario

from face_embedding.v1 import face_embedding_pb2 as pb
from support import MOBILE, RESNET34
from support.processes import Running, child_environment, serving

_SECONDS = 5.0
_MESSAGE = pb.EmbedRequest(faces=[ALIGNED]).SerializeToString()


def _called(running: Running, rate: float) -> dict[str, Any]:
    """Call a server at a rate, 0 for as fast as it answers; return what came of it."""
    command = [sys.executable, open_loop.__file__, str(running.port), str(rate), str(_SECONDS)]
    done = subprocess.run(
        command,
        input=_MESSAGE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        check=True,
        timeout=TIMEOUT_S,
    )
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes


def _overloaded(store: Path, model: str) -> Figures:
    refused_s, checked_s = [], []
    sent = unexplained = 0
    with serving(store, model=model) as running:
        _called(running, 0)
        before = _called(running, 0)["answered"]
        for factor in (3, 12):
            with health_timed(running.address) as took:
                outcomes = _called(running, factor * before / _SECONDS)
            # Before and after, as other work on the machine comes and goes.
            after = _called(running, 0)["answered"]
            peak, before = max(before, after), after
            checked_s += took
            refused_s += outcomes["refused_s"]
            unexplained += outcomes["unexplained"]
            sent += outcomes["sent"]
            rate, used = outcomes["sent"] / _SECONDS, outcomes["processor_s"] / _SECONDS
            yield Noted(
                100 * outcomes["answered"] / peak,
                f"of {peak / _SECONDS:,.0f} a second; {rate:,.0f} were sent, for which the "
                f"generator used {used:.2g} processors",
            )
        yield Noted(100 * unexplained / sent, f"{unexplained:,} of {sent:,}")
        yield 1000 * p99(refused_s)
        yield 1000 * p99(checked_s)
        yield running.peak_mb


def _scenario(
    name: str, model: str, limits: tuple[int, int], most_health_ms: int, most_mb: int
) -> Scenario:
    def figures(store: Path) -> Figures:
        return _overloaded(store, model)

    def goodput(factor: int, bound: int, limit: int) -> Promise:
        text = f"{name}: calls answered in time at {factor} times the capacity, of its peak"
        return Promise(text, bound, "%", limit, least=True)

    promises = (
        goodput(3, 90, limits[0]),
        goodput(12, 80, limits[1]),
        Promise(f"{name}: calls that end early without an answer or a reason", 0, "%", 1),
        Promise(f"{name}: a refusal, p99", 100, "ms", 1000),
        Promise(f"{name}: a health check meanwhile, p99", 200, "ms", most_health_ms),
        Promise(f"{name}: memory's peak", most_mb, "MB"),
    )
    return Scenario(promises, figures)


# On two processors, of which the generator takes a part, the small network's goodput is known to
# miss its bounds: so far, and no further.
SCENARIOS = (
    _scenario("MobileFaceNet", MOBILE, (60, 40), 2000, 500),
    _scenario("ResNet34", RESNET34, (60, 50), 1000, 1000),
)
