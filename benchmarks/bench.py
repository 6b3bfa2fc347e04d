"""What the server reaches of what the engine can do, measured in one run.

Runs of the server and of OpenVINO's own benchmark_app on the same IR alternate, seconds apart,
since the speed of a machine drifts; a figure is the mean of its runs. Server and load generator are
processes of their own on the same processors.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from face_embedding_models import manifest
from face_embedding_models.mxnet import synthesis
from face_embedding_models.openvino import ir, quantization
from face_embedding_models.openvino.precision import DRIFT_THRESHOLD, PRECISIONS
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_models.store.stored import IR_MODEL_FILE, Provenance
from face_embedding_server.inference.backends import openvino

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
QUICK_RESULTS = FOLDER.parent / "build" / "bench"
MODELS = {
    "resnet34": "face-recognition-resnet34-arcface",
    "mobilefacenet": "face-recognition-mobilefacenet-arcface",
}
CALLERS = (1, 2, 4, 8, 16)
MODES = ("unary", "batch", "stream")
ROUNDS = 2
UNITS_MS = {"us": 1e-3, "ms": 1.0}


@dataclass(frozen=True)
class Case:
    """One load on one model."""

    model: str
    precision: str
    mode: str
    callers: int


# What the project aims at: a share of the engine's throughput, or milliseconds above its latency.
TARGETS = {
    Case("resnet34", "f32", "unary", 8): 0.97,
    Case("resnet34", "f32", "unary", 1): 1.0,
    Case("resnet34", "int8", "unary", 8): 0.92,
    Case("mobilefacenet", "f32", "unary", 16): 0.80,
    Case("mobilefacenet", "f32", "batch", 2): 0.93,
    Case("mobilefacenet", "f32", "stream", 1): 0.93,
    Case("mobilefacenet", "f32", "unary", 1): 0.6,
    Case("mobilefacenet", "bf16", "unary", 16): 0.75,
    Case("mobilefacenet", "bf16", "batch", 2): 0.88,
    Case("mobilefacenet", "bf16", "stream", 1): 0.88,
}


@dataclass(frozen=True)
class Result:
    """What was measured: throughputs in faces a second, times in ms, memory in MiB."""

    model: str
    precision: str
    mode: str
    callers: int
    throughput: float
    engine_throughput: float
    ratio: float
    p50_ms: float
    p99_ms: float
    engine_latency_ms: float
    server_cpu_ms: float
    client_cpu_ms: float
    server_mib: float
    target: float | None


def main() -> None:
    """Measure, print a table, and write the results and a chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="only the cases with a target")
    parser.add_argument("--seconds", type=float, default=3, help="the length of a run")
    options = parser.parse_args()
    cases = list(TARGETS) if options.quick else every_case()
    store = Store(options.store)
    results = []
    print(HEADER, flush=True)
    for model, precision in dict.fromkeys((case.model, case.precision) for case in cases):
        prepare(store, MODELS[model], precision)
        if precision not in openvino.precisions(store.get(MODELS[model])):
            print(f"{model:<14} {precision:<5} is not of this processor", flush=True)
            continue
        with serving(options.store, MODELS[model], precision) as server:
            for case in cases:
                if (case.model, case.precision) == (model, precision):
                    results.append(measure(case, server, store, options.seconds))
                    print(row(results[-1]), flush=True)
    file = keep("latest.json", [asdict(result) for result in results], quick=options.quick)
    draw(results, file.with_suffix(".png"))


def keep(name: str, results: list[dict[str, Any]], *, quick: bool) -> Path:
    """Write results; those that are committed are of all cases. Return their file."""
    folder = QUICK_RESULTS if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"{json.dumps(results, indent=2)}\n", "utf-8")
    return file


def every_case() -> list[Case]:
    """Return all loads on all models."""
    loads = [(mode, callers) for mode in MODES for callers in CALLERS]
    return [
        Case(model, precision, *load)
        for model in MODELS
        for precision in PRECISIONS
        for load in loads
    ]


def prepare(store: Store, name: str, precision: str) -> None:
    """Put a stand-in into the store if it has no weights for the model; its speed is the same."""
    if name not in store.names():
        known = manifest.load(name)
        made = Provenance("synthetic", "synthesize")
        ir.put_to_use(store, known, synthesis.synthesize(known), made)
    stored = store.get(name)
    if not stored.ir_folder(PRECISIONS[precision].ir).exists():
        faces = [face.pixels_bgr for face in sample_faces(112, 112)]
        mirrored = [face[:, ::-1] for face in faces]
        with redirect_stdout(sys.stderr):  # Keep progress bars out of the table.
            quantization.quantize(stored, [*faces, *mirrored], DRIFT_THRESHOLD)


@dataclass(frozen=True)
class Server:
    """A running server: its address and its process."""

    address: str
    pid: int

    def mib(self) -> float:
        """Return the memory that it occupies."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def serving(store: Path, name: str, precision: str) -> AbstractContextManager[Server]:
    """Run a server as a process."""
    options = ("--model", name, "--store", store, "--precision", precision)
    return serving_by("-m", "face_embedding_server", "serve", *options, "--address", "127.0.0.1:0")


@contextmanager
def serving_by(*arguments: object, python: Path | str = sys.executable) -> Iterator[Server]:
    """Run a Python program that serves, and says where in its first line, as a process."""
    command = [str(python), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own command
        announcement = process.stdout.readline() if process.stdout else ""
        try:
            yield Server(re.findall(r" on (\S+:\d+) ", announcement)[0], process.pid)
        finally:
            process.send_signal(signal.SIGTERM)


def measure(case: Case, server: Server, store: Store, seconds: float) -> Result:
    """Measure one case in runs that alternate with runs of the engine alone."""
    precision = PRECISIONS[case.precision]
    folder = store.get(MODELS[case.model]).ir_folder(precision.ir)
    hint = "latency" if case.mode == "unary" and case.callers == 1 else "throughput"
    engines, loads = [engine(folder, hint, precision.hint, seconds / 2)], []
    for _ in range(ROUNDS):
        output = run(
            FOLDER / "load.py", server.address, case.mode, case.callers, seconds, server.pid
        )
        loads.append(json.loads(output))
        engines.append(engine(folder, hint, precision.hint, seconds / 2))
    throughput, latency = map(fmean, zip(*engines, strict=True))
    measured = {name: fmean(load[name] for load in loads) for name in loads[0]}
    return Result(
        **asdict(case),
        throughput=measured["throughput"],
        engine_throughput=throughput,
        ratio=measured["throughput"] / throughput,
        p50_ms=measured["p50_ms"],
        p99_ms=measured["p99_ms"],
        engine_latency_ms=latency,
        server_cpu_ms=measured["server_cpu_ms"],
        client_cpu_ms=measured["client_cpu_ms"],
        server_mib=server.mib(),
        target=TARGETS.get(case),
    )


def engine(folder: Path, hint: str, precision: str, seconds: float) -> tuple[float, float]:
    """Return the engine's own throughput in faces a second and its median latency in ms."""
    output = run(
        Path(sys.executable).with_name("benchmark_app"),
        *("-m", folder / IR_MODEL_FILE, "-d", "CPU", "-hint", hint, "-t", max(1, round(seconds))),
        *("-shape", "[1,3,112,112]", "-infer_precision", precision),
    )
    return read_engine(output)


def read_engine(output: str) -> tuple[float, float]:
    """Return the throughput and the median latency, in ms, that benchmark_app printed.

    Below a millisecond it prints microseconds.
    """
    throughput = re.findall(r"Throughput:\s+([\d.]+) FPS", output)[0]
    latency, unit = re.findall(r"Median:\s+([\d.]+) (\w+)", output)[0]
    return float(throughput), float(latency) * UNITS_MS[unit]


def run(script: Path, *arguments: object) -> str:
    """Run a Python script and return what it prints."""
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  # our own command


HEADER = (
    "model          prec  mode    callers  faces/s   engine  ratio   p50 ms   p99 ms engine ms  "
    "cpu ms   MiB  target"
)


def row(result: Result) -> str:
    """Return a line of the table."""
    lone = result.mode == "unary" and result.callers == 1
    reached = ""
    if result.target is not None:
        value = result.p50_ms - result.engine_latency_ms if lone else result.ratio
        good = value <= result.target if lone else value >= result.target
        form = f"+{result.target} ms" if lone else f"{result.target:.2f}"
        reached = f"{form}: {'reached' if good else f'MISSED ({value:+.2f})'}"
    return (
        f"{result.model:<14} {result.precision:<5} {result.mode:<7} {result.callers:7} "
        f"{result.throughput:8.1f} {result.engine_throughput:8.1f} {result.ratio:6.2f} "
        f"{result.p50_ms:8.2f} {result.p99_ms:8.2f} {result.engine_latency_ms:9.2f} "
        f"{result.server_cpu_ms:7.2f} {result.server_mib:5.0f}  {reached}"
    )


def draw(results: list[Result], path: Path) -> None:
    """Draw the share of the engine's throughput by the number of callers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    kinds = list(dict.fromkeys((r.model, r.precision) for r in results))
    figure, panels = pyplot.subplots(
        1, len(kinds), figsize=(3 * len(kinds), 3.4), sharey=True, layout="constrained"
    )
    for (model, precision), axes in zip(kinds, panels, strict=True):
        of_kind = [r for r in results if (r.model, r.precision) == (model, precision)]
        for mode in MODES:
            points = [(r.callers, r.ratio) for r in of_kind if r.mode == mode]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=mode)
        axes.axhline(1, color="black", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(CALLERS, labels=map(str, CALLERS))
        axes.set_ylim(0, 1.3)
        axes.set_title(f"{model} {precision}", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    figure.supxlabel("callers", fontsize=10)
    figure.supylabel("share of benchmark_app's throughput", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
