"""What replicas bring, behind Envoy, as processes and on Ray Serve, with engines that sleep.

Such engines keep no processor busy, so N replicas should answer N times what one engine gives,
until what passes the calls on is the limit. Then, for one caller and for many of an engine that
takes no time, what each hop adds to the latency.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import processes
from bench import FOLDER, Server, keep, prepare, run, serving_by
from processes import MODEL
from proxies import proxying

from face_embedding_models.store import Store

# How many faces a second each of them gives, of `with_engine.py`.
ENGINES = {"sleep": 20, "nap": 200}
QUICK_ENGINES = ("sleep",)
NUMBERS, QUICK_NUMBERS = (1, 2, 4, 8, 16), (1, 8)
ROUNDS, RUN_S = 2, 3.0
# So many for each replica that none ever waits for a call.
CALLERS = 8
# The share of the ideal that is promised, and of how many.
BOUND, PROMISED = 0.9, 8


@dataclass(frozen=True)
class Measured:
    """What a number of replicas did.

    Args:
        way: how calls come to them, of `WAYS`.
        engine: of `with_engine.py`.
        replicas: how many there are.
        callers: how many call them all the time.
        throughput: calls a second.
        p50_ms: the median latency.
        p99_ms: the latency that 99 % do not exceed.
        cpu_ms: what a call costs Envoy, or a server of one process, of a processor's time.
    """

    way: str
    engine: str
    replicas: int
    callers: int
    throughput: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def main() -> None:
    """Measure, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="of the slow engine, 1 and 8 alone")
    options = parser.parse_args()
    prepare(Store(options.store), MODEL, "f32")
    results = []
    for engine in QUICK_ENGINES if options.quick else ENGINES:
        for way in ("envoy", "processes", "ray"):
            for number in QUICK_NUMBERS if options.quick else NUMBERS:
                results.append(measure(options.store, way, engine, number))
                print(row(results[-1]), flush=True)
    for way in ("direct", "envoy", "ray"):
        for callers in (1, 16):
            results.append(measure(options.store, way, "constant", 1, callers))
            print(row(results[-1]), flush=True)
    keep("scale.json", [asdict(result) for result in results], quick=options.quick)


def efficiency(result: Measured) -> float:
    """Return the share that replicas give of what their engines do."""
    return result.throughput / (result.replicas * ENGINES[result.engine])


def row(result: Measured) -> str:
    """Return a line of the table."""
    told = ""
    if result.engine in ENGINES:
        told = f"efficiency {efficiency(result):.2f}"
    elif result.way in ("direct", "envoy"):
        told = f"a call costs {result.cpu_ms:.2f} ms of a processor"
    if (result.engine, result.replicas) == ("sleep", PROMISED):
        told += f"  {BOUND:.2f}: {'reached' if efficiency(result) >= BOUND else 'MISSED'}"
    return (
        f"{result.engine:<8} {result.way:<9} {result.replicas:2} replicas "
        f"{result.callers:3} callers {result.throughput:7.1f} calls/s  "
        f"p50 {result.p50_ms:6.2f} ms  p99 {result.p99_ms:6.2f} ms  {told}"
    )


def measure(
    store: Path, way: str, engine: str, replicas: int, callers: int | None = None
) -> Measured:
    """Return what replicas do with so many callers, by default as many as they need.

    It is the better of two runs, since what else a machine does only takes from it.
    """
    callers = callers or CALLERS * replicas
    with WAYS[way](store, engine, replicas) as server:
        options = ("unary", callers, RUN_S, server.pid, "--connections", callers)
        loads = [
            json.loads(run(FOLDER / "load.py", server.address, *options)) for _ in range(ROUNDS)
        ]
    best = max(loads, key=lambda load: load["throughput"])
    figures = (best[name] for name in ("throughput", "p50_ms", "p99_ms", "server_cpu_ms"))
    return Measured(way, engine, replicas, callers, *figures)


def _direct(store: Path, engine: str, _: int) -> AbstractContextManager[Server]:
    """Run one server, and nothing before it."""
    return processes.serving(store, engine, 1)


@contextmanager
def _envoy(store: Path, engine: str, replicas: int) -> Iterator[Server]:
    """Run so many servers behind Envoy."""
    with ExitStack() as stack:
        servers = [stack.enter_context(_direct(store, engine, 1)) for _ in range(replicas)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [int(server.address.rpartition(":")[2]) for server in servers]
        proxy = stack.enter_context(proxying(ports, folder))
        yield Server(proxy.address, proxy.pid)


def _ray(store: Path, engine: str, replicas: int) -> AbstractContextManager[Server]:
    """Run so many replicas of Ray Serve, behind its proxy."""
    return serving_by(FOLDER / "ray_replicas.py", engine, MODEL, store, replicas)


WAYS = {"direct": _direct, "envoy": _envoy, "processes": processes.serving, "ray": _ray}


if __name__ == "__main__":
    main()
