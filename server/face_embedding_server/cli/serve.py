"""`serve`: answer calls until told to stop."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from face_embedding_server import settings
from face_embedding_server.cli import signals
from face_embedding_server.settings import Settings

if TYPE_CHECKING:
    from face_embedding_server.inference.model import ServedModel


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
        server.run(chosen, events, announce, tracer)
    finally:
        if provider:
            tracing.shut_down(provider)
    return 0
