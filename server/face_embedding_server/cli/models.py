"""`face-embedding-server models`: look after the model files.

What needs an engine is imported by the functions that use it, as most commands need none.
"""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_embedding_models import manifest, regular_files
from face_embedding_models.errors import ManifestError
from face_embedding_models.installing import importing
from face_embedding_models.installing.fetching import Timeouts
from face_embedding_models.manifest import AnyManifest
from face_embedding_models.openvino.precision import DRIFT_THRESHOLD, PRECISIONS, REFERENCE
from face_embedding_models.store import Store
from face_embedding_models.store.stored import Provenance, StoredModel
from face_embedding_server import settings
from face_embedding_server.cli import models_facts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from face_embedding_models.openvino.drift import Drift
    from face_embedding_server.evaluation.left_out import LeftOut

_DAY_S = 24 * 3600


def add_options(parser: argparse.ArgumentParser) -> None:
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
    installer = add(
        "install", _install, "fetch the weights of a model or a detector, and convert them"
    )
    installer.add_argument(
        "--accept-license", action="store_true", help="accept the terms of the weights"
    )
    installer.add_argument(
        "--from",
        action="append",
        default=[],
        dest="sources",
        metavar="FILE_OR_URL",
        help="take them from here instead; once for each file",
    )
    _add_source_options(installer, "take weights for which no digest is known")
    importer = add("import", _import, "import weights that you have, and convert them")
    importer.add_argument(
        "sources",
        nargs="+",
        help="a folder, a zip archive or the files; paths or http(s) addresses",
        metavar="PATH_OR_URL",
    )
    _add_source_options(importer, "take weights that are not proven to be the published ones")
    user = add("use", _use, "go back, or on, to another version that the store has")
    user.add_argument("version", help="as 'models show' lists them")
    remover = add("remove", _remove, "remove a model or a detector, or one version of it")
    remover.add_argument("version", nargs="?", default="", help="default: all of them")
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


def _add_source_options(command: argparse.ArgumentParser, unverified: str) -> None:
    command.add_argument("--allow-unverified", action="store_true", help=unverified)
    command.add_argument(
        "--manifest", type=Path, metavar="FILE", help="describes a model of your own, a TOML file"
    )
    for name, default, what in (
        ("connect", Timeouts.connect_s, "a connection"),
        ("silence", Timeouts.silence_s, "the next bytes"),
    ):
        command.add_argument(
            f"--{name}-timeout-s",
            type=_seconds,
            default=default,
            metavar="SECONDS",
            help=f"how long to wait for {what} (default: %(default)s)",
        )


def _seconds(text: str) -> float:
    if not 0 < (value := float(text)) <= _DAY_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {_DAY_S}, a day")
    return value


def _add_drift_options(command: argparse.ArgumentParser, images: str) -> None:
    command.add_argument("--images", type=Path, required=True, help=images)
    command.add_argument(
        "--threshold",
        type=float,
        default=DRIFT_THRESHOLD,
        help="the cosine similarity at which decisions are compared (default: %(default)s)",
    )


def _list(options: argparse.Namespace) -> int:
    listed = models_facts.rows(_store(options))
    print(json.dumps(listed, indent=2) if options.json else models_facts.table(listed))
    return 0


def _show(options: argparse.Namespace) -> int:
    store = _store(options)
    known = _known(options, store)
    facts = models_facts.of_manifest(known) | {"origin": None}
    if store.has(known.name):
        facts |= models_facts.of_weights(models_facts.weights_in(store, known))
        facts |= {"versions": ", ".join(store.versions(known.name))}
    _print(facts, options)
    return 0


def _install(options: argparse.Namespace) -> int:
    store = _store_to_write(options)
    weights = importing.install(
        store,
        _known(options, store),
        options.sources,
        accept_license=options.accept_license,
        **_source_options(options),
    )
    _print(models_facts.of_weights(weights), options)
    return 0


def _import(options: argparse.Namespace) -> int:
    store = _store_to_write(options)
    known = _known(options, store)
    terms = known.license
    _tell(f"licence of the weights: {terms.name}. {terms.terms} {terms.stated_at or ''}".rstrip())
    weights = importing.import_weights(store, known, options.sources, **_source_options(options))
    _print(models_facts.of_weights(weights), options)
    return 0


def _source_options(options: argparse.Namespace) -> dict[str, Any]:
    from face_embedding_models.openvino import ir

    return {
        "allow_unverified": options.allow_unverified,
        "timeouts": Timeouts(options.connect_timeout_s, options.silence_timeout_s),
        "put": ir.put_to_use,
        "tell": _tell,
    }


def _synthesize(options: argparse.Namespace) -> int:
    from face_embedding_models.mxnet import synthesis
    from face_embedding_models.openvino import ir

    store = _store_to_write(options)
    known = manifest.load(options.name)
    made = Provenance("synthetic", "synthesize")
    stored = ir.put_to_use(store, known, synthesis.synthesize(known), made)
    _print(models_facts.of_weights(stored), options)
    return 0


def _use(options: argparse.Namespace) -> int:
    from face_embedding_models.openvino import ir

    store = _store_to_write(options)
    if options.name not in manifest.detector_names():
        stored = store.get_version(options.name, options.version)
        if stored.ir_folder(ir.PRECISION).exists():
            ir.check(stored)
        else:
            ir.convert(stored)
    store.use_version(options.name, options.version)
    _print({"name": options.name, "version": options.version}, options)
    return 0


def _remove(options: argparse.Namespace) -> int:
    _store_to_write(options).remove(options.name, options.version)
    _print({"removed": f"{options.name} {options.version}".rstrip()}, options)
    return 0


def _known(options: argparse.Namespace, store: Store) -> AnyManifest:
    """Return the manifest of what a command names: the user's, a shipped one, or one in the store.

    Raises:
        ManifestError: if the user's is not of that model, or of one that is shipped.
        UnknownModelError: if there is none.
    """
    name, own = options.name, getattr(options, "manifest", None)
    if own is None:
        shipped = (*manifest.names(), *manifest.detector_names())
        if name not in shipped and store.has(name):
            return store.get(name).manifest
        return manifest.load_any(name)
    try:
        known = manifest.parse(regular_files.read_text(own))
    except (OSError, ValueError) as error:
        raise ManifestError(f"the manifest {own} cannot be read: {error}") from error
    except ManifestError as error:
        raise ManifestError(f"{own}: {error}") from error
    if known.name != name:
        raise ManifestError(f"{own} is the manifest of '{known.name}', not of '{name}'")
    if name in (*manifest.names(), *manifest.detector_names()):
        raise ManifestError(
            f"{own}: '{name}' is a name that comes with this program and cannot be given to "
            f"another model; choose another name"
        )
    return known


def _convert(options: argparse.Namespace) -> int:
    from face_embedding_models.openvino import ir

    stored = _store_to_write(options).get(options.name)
    folder = ir.convert(stored)
    _print({"ir": str(folder)} | models_facts.of_weights(stored), options)
    return 0


def _quantize(options: argparse.Namespace) -> int:
    from face_embedding_models.openvino import quantization

    stored = _store_to_write(options).get(options.name)
    faces, unused = _faces(options, stored)
    with contextlib.redirect_stdout(sys.stderr):  # NNCF's progress bars are no result.
        measured = quantization.quantize(stored, faces, options.threshold)
    _print_drift(quantization.PRECISION, measured, unused, options)
    return 0


def _drift(options: argparse.Namespace) -> int:
    from face_embedding_models.openvino import drift

    stored = _store_to_write(options).get(options.name)
    faces, unused = _faces(options, stored)
    measured = drift.measure(stored, options.precision, faces, options.threshold)
    _print_drift(options.precision, measured, unused, options)
    return 0


def _print_drift(
    precision: str, measured: "Drift", unused: "dict[str, LeftOut]", options: argparse.Namespace
) -> None:
    from face_embedding_models.openvino.drift import few_words
    from face_embedding_server.evaluation import left_out

    facts: dict[str, Any] = {"precision": precision, **asdict(measured)}
    note = few_words(measured)
    if options.json:
        facts |= {"note": note, **left_out.as_json(unused)}
    else:
        for line in left_out.lines(unused, measured.faces + len(unused)) + [note] * bool(note):
            _tell(line)
    _print(facts, options)


def _faces(
    options: argparse.Namespace, stored: StoredModel
) -> "tuple[list[NDArray[np.uint8]], dict[str, LeftOut]]":
    from face_embedding_server.evaluation.parity import read_faces
    from face_embedding_server.faces.reader import FaceReader

    faces, unused = read_faces(options.images, FaceReader.of(stored.manifest.input))
    return [face.pixels_bgr for face in faces], unused


def _store(options: argparse.Namespace) -> Store:
    return Store(settings.store_root(options.store))


def _store_to_write(options: argparse.Namespace) -> Store:
    """Return the store, without what killed processes left in it."""
    store = _store(options)
    store.sweep()
    return store


def _tell(sentence: str) -> None:
    """Tell a person something that is no result."""
    print(sentence, file=sys.stderr)


def _print(facts: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        absent = "not in the store" if name == "origin" else "-"
        print(f"{name.replace('_', ' '):<32} {absent if value is None else value}")
