"""KServe's and MLServer's own servers beside this one: the same IR, load and run.

Each peer is a program in `peer_servers`, in an environment of its own. Runs of all of them, of this
server and of the bare engine take turns. A peer has a server for each load, compiled with the hint
that suits it; this server has one for both.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import grpc
import load
import numpy as np
from bench import (
    FOLDER,
    MODELS,
    Server,
    engine,
    keep,
    prepare,
    run,
    serving,
    serving_by,
)
from numpy.typing import NDArray

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding_models.store import Store
from face_embedding_models.store.stored import IR_MODEL_FILE
from face_embedding_server.inference.backends import openvino

MODEL = MODELS["mobilefacenet"]
PROGRAMS = FOLDER / "peer_servers"
ENVIRONMENTS = FOLDER.parent / "build" / "peers"
PEERS = {"kserve": "KServe", "mlserver": "MLServer"}
PRECISIONS = ("f32", "bf16")
# The numbers of callers, and the engine's hint for each.
HINTS = {16: "throughput", 1: "latency"}
MANY, LONE = HINTS
ENGINE, EMBED, V2 = "engine alone", "face-embedding, Embed", "face-embedding, V2"
ROUNDS, QUICK_ROUNDS = 3, 1
RUN_S, QUICK_RUN_S = 2.0, 1.0
# Of the embeddings of one face that two servers give at one precision.
MIN_COSINE = 0.999
START_S = 60

Measured = dict[str, float]
# What measures one of those that are compared, under that many callers.
Measure = Callable[[int], Measured]


@dataclass(frozen=True)
class Result:
    """What was measured of one of them: faces a second, and times in ms.

    Args:
        precision: of its engine.
        name: who it is, a peer with its version.
        throughput: of 16 callers.
        share: that this is of what the engine does alone.
        server_cpu_ms: processor time a face, of 16 callers; none of the engine alone.
        p50_ms: the median latency of one caller.
    """

    precision: str
    name: str
    throughput: float
    share: float
    server_cpu_ms: float | None
    p50_ms: float


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    store = Store(options.store)
    prepare(store, MODEL, "f32")
    has = openvino.precisions(store.get(MODEL))
    rounds, seconds = (QUICK_ROUNDS, QUICK_RUN_S) if options.quick else (ROUNDS, RUN_S)
    results = []
    print(HEADER, flush=True)
    for precision in (each for each in PRECISIONS if each in has):
        with everyone(options.store, precision, seconds) as measures:
            found = results_of(precision, compare(measures, rounds))
        print(*map(row, found), sep="\n", flush=True)
        results += found
    keep("peers.json", [asdict(result) for result in results], quick=options.quick)


@contextmanager
def everyone(store: Path, precision: str, seconds: float) -> Iterator[dict[str, Measure]]:
    """Run all servers, and give what measures each of them and the engine, by name."""
    folder = Store(store).get(MODEL).ir_folder("f32")
    with ExitStack() as running:
        ours = dict.fromkeys(HINTS, running.enter_context(serving(store, MODEL, precision)))
        by_v2 = {V2: ours}
        for peer, name in PEERS.items():
            by_v2[f"{name} {version(peer)}"] = {
                callers: running.enter_context(serving_peer(peer, folder, precision, hint))
                for callers, hint in HINTS.items()
            }
        check_agreement(by_v2)
        measures = {
            ENGINE: partial(measure_engine, folder, precision, seconds),
            EMBED: partial(measure, ours, "unary", seconds),
        }
        for name, servers in by_v2.items():
            measures[name] = partial(measure, servers, "v2", seconds)
        yield measures


def serving_peer(
    peer: str, folder: Path, precision: str, hint: str
) -> AbstractContextManager[Server]:
    """Run a peer's program in its environment."""
    python = ENVIRONMENTS / peer / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{peer} has no environment: there is no {python}; `make peers` makes it")
    program = PROGRAMS / f"{peer}_server.py"
    return serving_by(program, folder / IR_MODEL_FILE, MODEL, precision, hint, python=python)


def version(peer: str) -> str:
    """Return the version of a peer that its environment has."""
    pins = (PROGRAMS / f"{peer}.txt").read_text("utf-8")
    return re.findall(rf"^{peer}==(\S+)", pins, re.MULTILINE)[0]


def check_agreement(servers: Mapping[str, Mapping[int, Server]]) -> None:
    """Wait until all of them serve, and see that they do the same work.

    Raises:
        ValueError: one gives another embedding than the first.
    """
    first: NDArray[np.float32] | None = None
    for name, each in servers.items():
        for server in each.values():
            found = embedding(server)
            first = found if first is None else first
            cosine = first @ found / np.linalg.norm(first) / np.linalg.norm(found)
            if cosine < MIN_COSINE:
                raise ValueError(f"{name} gives another embedding, with a cosine of {cosine:.4f}")


def embedding(server: Server) -> NDArray[np.float32]:
    """Return what a server makes of the load's face, as soon as it answers."""
    deadline = time.monotonic() + START_S
    with grpc.insecure_channel(server.address) as channel:
        infer = channel.unary_unary(
            load.V2_INFER,
            oip.ModelInferRequest.SerializeToString,
            oip.ModelInferResponse.FromString,
        )
        while True:
            try:
                answer = infer(load.v2_request(MODEL), timeout=START_S, wait_for_ready=True)
            except grpc.RpcError:  # It may listen before it has a model.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return np.frombuffer(answer.raw_output_contents[0], np.float32)


def compare(measures: Mapping[str, Measure], rounds: int) -> dict[str, dict[int, Measured]]:
    """Measure all of them in turn, round after round, and return the medians by callers."""
    runs: dict[str, dict[int, list[Measured]]] = {
        name: {callers: [] for callers in HINTS} for name in measures
    }
    for _ in range(rounds):
        for callers in HINTS:
            for name, measure_one in measures.items():
                runs[name][callers].append(measure_one(callers))
    return {
        name: {callers: medians(of_load) for callers, of_load in loads.items()}
        for name, loads in runs.items()
    }


def medians(runs: list[Measured]) -> Measured:
    """Return the median of each figure."""
    return {figure: median(each[figure] for each in runs) for figure in runs[0]}


def measure(servers: Mapping[int, Server], mode: str, seconds: float, callers: int) -> Measured:
    """Measure a server under a load."""
    server = servers[callers]
    arguments = (server.address, mode, callers, seconds, server.pid, "--model", MODEL)
    measured: Measured = json.loads(run(FOLDER / "load.py", *arguments))
    return measured


def measure_engine(folder: Path, precision: str, seconds: float, callers: int) -> Measured:
    """Measure the bare engine."""
    throughput, latency_ms = engine(folder, HINTS[callers], precision, seconds)
    return {"throughput": throughput, "p50_ms": latency_ms}


def results_of(precision: str, found: Mapping[str, Mapping[int, Measured]]) -> list[Result]:
    """Return what the comparison says of each of them, the engine among them."""
    whole = found[ENGINE][MANY]["throughput"]
    return [
        Result(
            precision=precision,
            name=name,
            throughput=loads[MANY]["throughput"],
            share=loads[MANY]["throughput"] / whole,
            server_cpu_ms=loads[MANY].get("server_cpu_ms"),
            p50_ms=loads[LONE]["p50_ms"],
        )
        for name, loads in found.items()
    ]


HEADER = "prec   server                    faces/s  share  cpu ms  p50 ms of one"


def row(result: Result) -> str:
    """Return a line of the table."""
    cpu = "" if result.server_cpu_ms is None else f"{result.server_cpu_ms:.2f}"
    return (
        f"{result.precision:<6} {result.name:<24} {result.throughput:8.1f} {result.share:6.2f} "
        f"{cpu:>7} {result.p50_ms:14.2f}"
    )


if __name__ == "__main__":
    main()
