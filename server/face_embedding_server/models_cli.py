"""`face-embedding-server models`: look after the model files."""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_embedding_models import drift, importing, ir, manifest, quantization, synthesis
from face_embedding_models.manifest import Manifest
from face_embedding_models.precision import PRECISIONS, REFERENCE
from face_embedding_models.store import ORIGIN_NOTES, Store, StoredModel
from face_embedding_server import settings
from face_embedding_server.faces import FaceReader
from face_embedding_server.parity import read_faces


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `models`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, summary: str, *, named: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        if named:
            command.add_argument("name", help="the model's name")
        add_common_options(command)
        command.set_defaults(run=run)
        return command

    add("list", _list, "list the models that are known, and what the store has", named=False)
    add("show", _show, "show what is known of a model")
    importer = add(
        "import", _import, "import weights from a folder, a zip or an address, and convert them"
    )
    importer.add_argument("source", help="path or http(s) address", metavar="PATH_OR_URL")
    importer.add_argument(
        "--allow-unverified",
        action="store_true",
        help="take weights that are not proven to be the published ones",
    )
    add("synthesize", _synthesize, "make a stand-in with made-up weights, and convert it")
    add("convert", _convert, "convert the weights in the store to OpenVINO IR again")
    quantizer = add("quantize", _quantize, "make an int8 IR from the f32 one")
    _add_drift_options(quantizer, "a folder of aligned faces to calibrate with")
    drifter = add("drift", _drift, "measure how far a precision is from f32, and keep it")
    drifter.add_argument(
        "--precision", required=True, choices=[name for name in PRECISIONS if name != REFERENCE]
    )
    _add_drift_options(drifter, "a folder of aligned faces to measure with")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command about models has."""
    parser.add_argument("--store", type=Path, help="the folder with the models")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_drift_options(command: argparse.ArgumentParser, images: str) -> None:
    command.add_argument("--images", type=Path, required=True, help=images)
    command.add_argument(
        "--threshold",
        type=float,
        default=drift.DEFAULT_THRESHOLD,
        help="the cosine similarity at which decisions are compared (default: %(default)s)",
    )


def _list(options: argparse.Namespace) -> int:
    store = _store(options)
    present = set(store.names())
    rows = [
        {"name": name, "in_store": name in present}
        | ({"origin": store.get(name).origin} if name in present else {})
        for name in manifest.names()
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['name']:<40} {row.get('origin', 'not in the store')}")
    return 0


def _show(options: argparse.Namespace) -> int:
    known = manifest.load(options.name)
    store = _store(options)
    stored = store.get(options.name) if options.name in store.names() else None
    facts = _facts_of_manifest(known) | (_facts_of_weights(stored) if stored else {"origin": None})
    _print(facts, options)
    return 0


def _import(options: argparse.Namespace) -> int:
    store = _store(options)
    stored = importing.import_model(
        store,
        manifest.load(options.name),
        options.source,
        allow_unverified=options.allow_unverified,
    )
    return _put_to_use(store, stored, options)


def _synthesize(options: argparse.Namespace) -> int:
    known = manifest.load(options.name)
    store = _store(options)
    stored = store.add(known, *synthesis.synthesize(known), "synthetic", "synthesize")
    return _put_to_use(store, stored, options)


def _put_to_use(store: Store, stored: StoredModel, options: argparse.Namespace) -> int:
    """Convert weights, and only then let servers see them."""
    ir.convert(stored)
    store.use(stored)
    _print(_facts_of_weights(stored), options)
    return 0


def _convert(options: argparse.Namespace) -> int:
    stored = _store(options).get(options.name)
    folder = ir.convert(stored)
    _print({"ir": str(folder)} | _facts_of_weights(stored), options)
    return 0


def _quantize(options: argparse.Namespace) -> int:
    stored = _store(options).get(options.name)
    with contextlib.redirect_stdout(sys.stderr):  # NNCF's progress bars are no result.
        measured = quantization.quantize(stored, _faces(options, stored), options.threshold)
    _print({"precision": quantization.PRECISION, **asdict(measured)}, options)
    return 0


def _drift(options: argparse.Namespace) -> int:
    stored = _store(options).get(options.name)
    faces = _faces(options, stored)
    measured = drift.measure(stored, options.precision, faces, options.threshold)
    _print({"precision": options.precision, **asdict(measured)}, options)
    return 0


def _faces(options: argparse.Namespace, stored: StoredModel) -> list[NDArray[np.uint8]]:
    faces = read_faces(options.images, FaceReader.of(stored.manifest.input))
    return [face.pixels_bgr for face in faces]


def _store(options: argparse.Namespace) -> Store:
    return Store(settings.store_root(options.store))


def _facts_of_manifest(known: Manifest) -> dict[str, Any]:
    return {
        "name": known.name,
        "description": known.description,
        "published_archive": known.source.file,
        "published_sha256": known.source.sha256,
        "published_lfw_accuracy_percent": known.published.lfw_accuracy_percent,
        "license_note": known.published.license_note,
    }


def _facts_of_weights(stored: StoredModel) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "origin": stored.origin,
        "origin_note": ORIGIN_NOTES[stored.origin],
        "source": stored.source,
        "weights_sha256": stored.weights_sha256,
        "embedding_space": stored.embedding_space,
        "folder": str(stored.folder),
    }
    if stored.ir_folder(ir.PRECISION).exists():
        cost = ir.cost(ir.read(stored))
        facts |= {"mparams": round(cost.mparams, 3), "gflops": round(cost.gflops, 3)}
    for precision in PRECISIONS:
        if measured := drift.read(stored, precision):
            facts |= {f"{precision}_{name}": value for name, value in asdict(measured).items()}
    return facts


def _print(facts: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<32} {'not in the store' if value is None else value}")
