"""`serve`: answer calls until told to stop."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from face_embedding_server import settings, signals
from face_embedding_server.cli import printing
from face_embedding_server.settings import Settings

if TYPE_CHECKING:
    from face_embedding_server.inference.model import ModelInfo


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting."""
    parser.add_argument("--config", type=Path, help="a TOML file with settings")
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, help=field.description, metavar="VALUE", dest=name)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    events = signals.Signals()
    # Here, as a signal may come while they are imported.
    from face_embedding_server.telemetry import logs

    flags = {name: value for name, value in vars(options).items() if name != "run"}
    chosen = settings.load(flags)
    logs.configure(chosen.log_format, chosen.log_level)
    if chosen.processes != 1:
        from face_embedding_server.processes import sizing

        chosen = sizing.plan(chosen)
    if chosen.processes == 1:
        _serve_here(chosen, events)
    else:
        _serve_by_processes(chosen, events)
    return 0


def _serve_by_processes(chosen: Settings, events: signals.Signals) -> None:
    from face_embedding_server.processes.fleet import Fleet

    by = f" by {chosen.processes} processes"
    Fleet(chosen, events).run(lambda port, info: _announce(chosen, port, info, by))


def _serve_here(chosen: Settings, events: signals.Signals) -> None:
    from face_embedding_server.server import Server
    from face_embedding_server.telemetry import logs, tracing

    def announce(port: int, info: "ModelInfo") -> None:
        logs.take_native_output()
        _announce(chosen, port, info)

    with tracing.exporting(chosen.tracing) as tracer:
        Server(chosen, tracer, events.stop).run(events, announce)


def _announce(chosen: Settings, port: int, info: "ModelInfo", by: str = "") -> None:
    host = chosen.address.rpartition(":")[0]
    with printing.as_far_as_possible():
        print(
            f"serving {info.name} on {host}:{port} with {info.backend} at {info.precision}{by}: "
            f"{info.weights_note}"
        )
