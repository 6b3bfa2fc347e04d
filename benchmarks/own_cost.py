"""What the server costs beside its engine: with one that takes no time, against gRPC alone.

Runs of the server and of one of grpcio that does nothing alternate, under the same load. This cost
is hidden behind a slow engine; with a fast one, or with more processors, it is the limit.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import FOLDER, MODELS, Server, keep, prepare, run, serving_by

from face_embedding_models.store import Store

MODEL = MODELS["mobilefacenet"]
ROUNDS, QUICK_ROUNDS = 5, 2
RUN_S = 1.5

Measured = dict[str, float]


@dataclass(frozen=True)
class Target:
    """What the project aims at, of a load on the server beside one on gRPC alone; V2's on Embed.

    Args:
        mode: of the load; see `load.py`.
        callers: how many there are.
        what: of both figures.
        of: makes one figure of what was measured of the server and of gRPC alone.
        most: whether the figure is to be at most the bound, and not at least.
        bound: for it.
    """

    mode: str
    callers: int
    what: str
    of: Callable[[Measured, Measured], float]
    most: bool
    bound: float


def _share(ours: Measured, nothing: Measured) -> float:
    return ours["throughput"] / nothing["throughput"]


def _more_cpu_ms(ours: Measured, nothing: Measured) -> float:
    return ours["server_cpu_ms"] - nothing["server_cpu_ms"]


def _later_ms(ours: Measured, nothing: Measured) -> float:
    return ours["p50_ms"] - nothing["p50_ms"]


_FACES = "faces/s, share of the calls/s of gRPC alone at 16 callers"
TARGETS = (
    Target("unary", 16, "calls/s, share of gRPC alone", _share, most=False, bound=0.50),
    Target("unary", 16, "ms more of processor time a call", _more_cpu_ms, most=True, bound=0.15),
    Target("unary", 1, "ms later at the median", _later_ms, most=True, bound=0.15),
    Target("batch", 2, _FACES, _share, most=False, bound=0.80),
    Target("stream", 1, _FACES, _share, most=False, bound=0.80),
    Target("v2", 16, "calls/s, share of Embed", _share, most=False, bound=0.90),
)


def main() -> None:
    """Measure, print each target with its figure, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    prepare(Store(options.store), MODEL, "f32")
    loads = dict.fromkeys((target.mode, target.callers) for target in TARGETS)
    ours: dict[tuple[str, int], list[Measured]] = {load: [] for load in loads}
    nothing: dict[tuple[str, int], list[Measured]] = {load: [] for load in loads}
    flags = ("--model", MODEL, "--store", options.store, "--address", "127.0.0.1:0")
    with (
        serving_by(FOLDER / "with_engine.py", "constant", "serve", *flags) as own,
        serving_by(FOLDER / "nothing.py") as grpc_alone,
    ):
        for _ in range(QUICK_ROUNDS if options.quick else ROUNDS):
            for mode, callers in loads:
                ours[mode, callers].append(_measure(own, mode, callers))
                # It knows one method: batches and streams are held against its calls.
                of = callers if mode == "unary" else 16
                beside = own if mode == "v2" else grpc_alone
                nothing[mode, callers].append(_measure(beside, "unary", of))
    figures = [
        _figure(target, *(each[target.mode, target.callers] for each in (ours, nothing)))
        for target in TARGETS
    ]
    print("its own cost beside an engine that takes no time")
    for figure in figures:
        print(
            f"{figure['mode']:<7} {figure['callers']:3}  {figure['figure']:6.2f}  "
            f"{figure['word']} {figure['bound']:.2f}: {figure['outcome']:<8} {figure['what']}"
        )
    keep("own_cost.json", figures, quick=options.quick)


def _measure(server: Server, mode: str, callers: int) -> Measured:
    load = (FOLDER / "load.py", server.address, mode, callers, RUN_S, server.pid)
    output = run(*load, "--model", MODEL)
    measured: Measured = json.loads(output)
    return measured


def _figure(target: Target, ours: list[Measured], nothing: list[Measured]) -> dict[str, object]:
    figure = target.of(_medians(ours), _medians(nothing))
    reached = figure <= target.bound if target.most else figure >= target.bound
    facts = asdict(target)
    del facts["of"], facts["most"]
    return facts | {
        "word": "at most" if target.most else "at least",
        "figure": figure,
        "outcome": "reached" if reached else "MISSED",
    }


def _medians(runs: list[Measured]) -> Measured:
    return {name: median(each[name] for each in runs) for name in runs[0]}


if __name__ == "__main__":
    main()
