"""What `face-embedding-server models` tells of models and detectors."""

from dataclasses import asdict
from typing import Any

from face_embedding_models import manifest
from face_embedding_models.manifest import AnyManifest, DetectorManifest
from face_embedding_models.openvino.precision import PRECISIONS
from face_embedding_models.store import Store
from face_embedding_models.store.stored import ORIGIN_NOTES, StoredModel, StoredWeights

_MB = 1e6
# What a table shows of a row: its heading, its key, and how wide it is.
_COLUMNS = (
    ("NAME", "name", 39),
    ("FORMAT", "format", 7),
    ("MB", "download_bytes", 6),
    ("NUMBERS", "embedding_size", 8),
    ("LFW %", "lfw_accuracy_percent", 6),
    ("IJB-C %", "ijbc_tar_percent", 8),
    ("LICENCE", "license", 15),
    ("IN STORE", "origin", 0),
)


def rows(store: Store) -> list[dict[str, Any]]:
    """Return a row for each model and detector that is known, or in the store."""
    own = [name for name in store.names() if name not in manifest.names()]
    known: list[AnyManifest] = [manifest.load(name) for name in manifest.names()]
    known += [store.get(name).manifest for name in own]
    known += [manifest.load_detector(name) for name in manifest.detector_names()]
    return [_row(store, each) for each in known]


def table(listed: list[dict[str, Any]]) -> str:
    """Return rows as a table to read."""
    lines = [[title for title, _, _ in _COLUMNS]]
    lines += [[_cell(row, key) for _, key, _ in _COLUMNS] for row in listed]
    widths = [width for _, _, width in _COLUMNS]
    return "\n".join(
        " ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def of_manifest(known: AnyManifest) -> dict[str, Any]:
    """Return what is known of a model or a detector without its weights."""
    facts: dict[str, Any] = {
        "name": known.name,
        "description": known.description,
        "format": known.format,
        "download_bytes": known.download_bytes,
    }
    if known.archive:
        facts |= {
            "published_archive": known.archive.file,
            "published_sha256": known.archive.sha256,
        }
    for number, file in enumerate(known.files, start=1):
        facts |= {f"file_{number}": file.file, f"file_{number}_sha256": file.sha256}
    if not isinstance(known, DetectorManifest):
        facts |= {
            "channel_order": known.input.channel_order,
            "published_lfw_accuracy_percent": known.published.lfw_accuracy_percent,
            "published_ijbc_tar_percent": known.published.ijbc_tar_percent,
        }
    return facts | {
        "license": known.license.name,
        "license_terms": known.license.terms,
        "license_stated_at": known.license.stated_at,
    }


def of_weights(weights: StoredWeights) -> dict[str, Any]:
    """Return what is known of weights in the store."""
    provenance = weights.provenance
    facts: dict[str, Any] = {
        "origin": provenance.origin,
        "origin_note": ORIGIN_NOTES[provenance.origin],
        "source": provenance.source,
        "weights_sha256": weights.weights_sha256,
        "version": weights.version,
        "folder": str(weights.folder),
    }
    if accepted := provenance.acceptance:
        facts |= {"license_accepted": accepted.terms, "license_accepted_at": accepted.at}
    if isinstance(weights, StoredModel):
        facts |= _of_network(weights)
    return facts


def _of_network(stored: StoredModel) -> dict[str, Any]:
    # Here, as a list of models needs no engine.
    from face_embedding_models.openvino import drift, ir

    facts: dict[str, Any] = {"embedding_space": stored.embedding_space}
    if stored.ir_folder(ir.PRECISION).exists():
        cost = ir.cost(ir.read(stored))
        facts |= {"mparams": round(cost.mparams, 3), "gflops": round(cost.gflops, 3)}
    for precision in PRECISIONS:
        if measured := drift.read(stored, precision):
            facts |= {f"{precision}_{name}": value for name, value in asdict(measured).items()}
    return facts


def _row(store: Store, known: AnyManifest) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": known.name,
        "kind": "model",
        "format": known.format,
        "download_bytes": known.download_bytes,
        "license": known.license.name,
        "in_store": store.has(known.name),
    }
    if isinstance(known, DetectorManifest):
        row["kind"] = "detector"
    else:
        row |= {
            "embedding_size": known.output.size,
            "lfw_accuracy_percent": known.published.lfw_accuracy_percent,
            "ijbc_tar_percent": known.published.ijbc_tar_percent,
        }
    if row["in_store"]:
        row["origin"] = weights_in(store, known).provenance.origin
    return row


def weights_in(store: Store, known: AnyManifest) -> StoredWeights:
    """Return the weights in use of a model or a detector.

    Raises:
        StoreError: if the store has none.
    """
    if isinstance(known, DetectorManifest):
        return store.get_detector(known.name)
    return store.get(known.name)


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if key == "name" and row["kind"] == "detector":
        return f"{value} (detector)"
    if key == "origin":
        return str(value or "no")
    if value is None:
        return "-"
    if key == "download_bytes":
        return f"{value / _MB:.1f}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
