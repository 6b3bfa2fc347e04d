"""The command `face-embedding-server`.

Exit status: 0 for success, 1 if the answer of a check is no, 2 for an error.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from face_embedding_models.errors import ModelError
from face_embedding_models.formats import REFERENCE_BACKENDS
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_server import access, backends, models_cli, parity, settings, signals
from face_embedding_server.errors import OperatorError
from face_embedding_server.evaluation import cli as evaluation_cli
from face_embedding_server.faces import FaceReader
from face_embedding_server.parity import Report
from face_embedding_server.settings import Settings

if TYPE_CHECKING:
    from face_embedding_server.serving import ServedModel

EXIT_NO = 1
EXIT_ERROR = 2
# As a shell tells it: 128 and the number of SIGINT.
EXIT_INTERRUPTED = 130
_CANDIDATE_BACKEND = "openvino"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except (ModelError, OperatorError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("face-embedding-server", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve a model over gRPC")
    serve.add_argument("--config", type=Path, help="a TOML file with settings")
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        serve.add_argument(flag, help=field.description, metavar="VALUE", dest=name)
    serve.set_defaults(run=_serve)
    models_cli.add_commands(commands.add_parser("models", help="look after the model files"))
    check = commands.add_parser(
        "parity", help="check that both backends give the same embeddings (exit status 1 if not)"
    )
    check.add_argument("--model", required=True, help="the model's name")
    check.add_argument("--images", type=Path, help="a folder of aligned faces; default: drawn ones")
    models_cli.add_common_options(check)
    check.set_defaults(run=_parity)
    evaluation_cli.add_commands(commands)
    token = commands.add_parser("token", help="make a bearer token for the access file")
    token.set_defaults(run=_token)
    return parser


def _serve(options: argparse.Namespace) -> int:
    events = signals.Signals()
    # Here, since only this command needs them, and a signal may come while they are imported.
    from face_embedding_server import server
    from face_embedding_server.telemetry import logs, tracing

    flags = {name: value for name, value in vars(options).items() if name != "run"}
    chosen = settings.load(flags)
    logs.configure(chosen.log_format, chosen.log_level)
    provider = tracing.exporting_provider() if chosen.tracing else None

    def announce(port: int, model: "ServedModel") -> None:
        logs.take_native_output()
        info, host = model.info, chosen.address.rpartition(":")[0]
        print(
            f"serving {info.name} on {host}:{port} with {info.backend} at {info.precision}: "
            f"{info.weights_note}",
            flush=True,
        )

    try:
        tracer = tracing.CallTracer(provider) if provider else None
        server.run(chosen, events.looks(chosen.watch_s), announce, tracer)
    finally:
        if provider:
            tracing.shut_down(provider)
    return 0


def _token(_: argparse.Namespace) -> int:
    token, digest = access.new_token()
    print(f"token   {token}\nsha256  {digest}")
    return 0


def _parity(options: argparse.Namespace) -> int:
    stored = Store(settings.store_root(options.store)).get(options.model)
    size = stored.manifest.input
    if options.images:
        faces = parity.read_faces(options.images, FaceReader.of(size))
    else:
        faces = sample_faces(size.width, size.height)
    reference = backends.load(REFERENCE_BACKENDS[stored.manifest.format], stored, "f32")
    candidate = backends.load(_CANDIDATE_BACKEND, stored, "f32")
    report = parity.run(reference, candidate, faces, stored.manifest.parity)
    reference.close()
    candidate.close()
    if options.json:
        print(json.dumps({"model": options.model, **report.as_json()}, indent=2))
    else:
        _print_parity(report)
    return 0 if report.passed else EXIT_NO


def _print_parity(report: Report) -> None:
    straight, swapped = report.straight, report.swapped
    print(f"{'face':<24} {'cosine':>12} {'max abs difference':>20}")
    for face in straight.faces:
        print(f"{face.name:<24} {face.cosine:12.9f} {face.max_abs_difference:20.3g}")
    print(
        f"\nall faces: cosine at least {straight.min_cosine:.9f} "
        f"(tolerance {straight.tolerances.min_cosine}), difference at most "
        f"{straight.max_abs_difference:.3g}, in units of the embedding's RMS "
        f"{straight.max_scaled_difference:.3g} (tolerance "
        f"{straight.tolerances.max_scaled_difference:g})"
    )
    seen = "is noticed" if report.channel_order_proven else "IS NOT NOTICED"
    print(f"red and blue swapped: cosine at least {swapped.min_cosine:.6f}, the swap {seen}")
    print("parity: passed" if report.passed else "parity: FAILED")
