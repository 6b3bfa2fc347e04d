"""What more processes of one server bring, with engines that keep no processor busy.

With an engine that takes no time the server's own path is the limit, which two processes share.
With engines that sleep the processors are not, so as many should answer as many times more.
"""

import argparse
import json
import os
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import FOLDER, MODELS, Server, keep, prepare, run, serving_by

from face_embedding_models.store import Store

MODEL = MODELS["mobilefacenet"]
ROUNDS, QUICK_ROUNDS = 3, 1
RUN_S = 3.0
# The kernel puts each connection into one process: of so many every process gets some.
CALLERS = 64


@dataclass(frozen=True)
class Series:
    """Numbers of processes with one engine.

    Args:
        engine: of `with_engine.py`.
        numbers: how many processes there are; each is held against the first.
        bound: the least share of what so many times the first would give, of the last.
    """

    engine: str
    numbers: tuple[int, ...]
    bound: float


SERIES = (Series("constant", (1, 2), 0.65), Series("sleep", (1, 2, 4, 8), 0.9))


@dataclass(frozen=True)
class Measured:
    """Calls a second of a number of processes, and the share of the processors that was idle."""

    engine: str
    processes: int
    throughput: float
    idle: float


def main() -> None:
    """Measure, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one round, of the first and the last")
    options = parser.parse_args()
    prepare(Store(options.store), MODEL, "f32")
    print("more processes, with engines that keep no processor busy")
    results = []
    for series in SERIES:
        numbers = series.numbers[:1] + series.numbers[-1:] if options.quick else series.numbers
        found = measure(series.engine, numbers, options)
        results += found
        print("\n".join(rows(series, found)), flush=True)
    keep("processes.json", [asdict(result) for result in results], quick=options.quick)


def serving(store: Path, engine: str, number: int) -> AbstractContextManager[Server]:
    """Run a server of so many processes with an engine of `with_engine.py`."""
    options = ("--model", MODEL, "--store", store, "--address", "127.0.0.1:0")
    options += ("--detector", "none", "--log-level", "error", "--processes", number)
    return serving_by(FOLDER / "with_engine.py", engine, "serve", *options)


def measure(engine: str, numbers: tuple[int, ...], options: argparse.Namespace) -> list[Measured]:
    """Return the medians of runs in turn."""
    runs: dict[int, list[tuple[float, float]]] = {number: [] for number in numbers}
    with ExitStack() as stack:
        servers = {
            number: stack.enter_context(serving(options.store, engine, number))
            for number in numbers
        }
        for _ in range(QUICK_ROUNDS if options.quick else ROUNDS):
            for number, server in servers.items():
                runs[number].append(_run(server))
    medians = {number: map(median, zip(*each, strict=True)) for number, each in runs.items()}
    return [Measured(engine, number, *figures) for number, figures in medians.items()]


def rows(series: Series, found: list[Measured]) -> list[str]:
    """Return a line for each number of processes."""
    first = found[0].throughput
    lines = []
    for each in found:
        share = each.throughput / (first * each.processes)
        reached = ""
        if each.processes == series.numbers[-1]:
            reached = f"{series.bound:.2f}: {'reached' if share >= series.bound else 'MISSED'}"
        lines.append(
            f"{each.engine:<9} {each.processes:2} processes {each.throughput:8.1f} calls/s  "
            f"{share:.2f} of so many times one  {each.idle:4.0%} idle  {reached}"
        )
    return lines


def _run(server: Server) -> tuple[float, float]:
    """Return the calls a second, and the share of idle time meanwhile."""
    begun, idle = time.perf_counter(), _idle_s()
    options = ("unary", CALLERS, RUN_S, server.pid, "--connections", CALLERS)
    answered: dict[str, float] = json.loads(run(FOLDER / "load.py", server.address, *options))
    spent = (time.perf_counter() - begun) * (os.cpu_count() or 1)
    return answered["throughput"], (_idle_s() - idle) / spent


def _idle_s() -> float:
    """Return how long the processors of this machine have had nothing to do."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[4]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
