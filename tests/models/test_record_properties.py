"""The records of a store, whatever is in them."""

import hashlib
import json
import math
import shutil
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from face_embedding_models import manifest
from face_embedding_models.errors import ModelError, StoreError
from face_embedding_models.formats import ONNX_FILE
from face_embedding_models.openvino import drift, ir
from face_embedding_models.openvino.drift import Drift
from face_embedding_models.store import Store, parts, sealed
from face_embedding_models.store.parts import PARTS_FILE
from face_embedding_models.store.stored import (
    GOLDEN_FILE,
    Acceptance,
    Provenance,
    StoredModel,
)
from support.damage import altered, attempt, damaged
from support.made_weights import OWN, onnx_of, own_toml, zipped

DRIFT = Drift(2, 0.999, 0.9995, 1, 0.001, 0, 0.3)
ACCEPTED = Acceptance("mine", None, "2026-01-31T00:00:00Z")
RECORDS = [
    "../current.json",
    "parts.json",
    "checkpoint/record.json",
    "checkpoint/manifest.json",
    "ir-f32/record.json",
    "drift-bf16/record.json",
]
# A path of a test, and what is shown of a few problems.
MOST_CHARACTERS = 1_500


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a model of one's own, converted, and with a drift."""
    store = Store(tmp_path_factory.mktemp("made"))
    known = manifest.parse(own_toml(onnx_of()))
    provenance = Provenance("unverified", "a file", ACCEPTED)
    model = ir.put_to_use(store, known, {ONNX_FILE: onnx_of()}, provenance)
    record = {"of": sealed.read_record(model.ir_folder("f32"))["files"], "drift": asdict(DRIFT)}
    with parts.changing(model.folder) as pending:
        sealed.write(pending / model.drift_folder("bf16").name, lambda _: None, record)
    return store


def bind(path: Path) -> None:
    """Have what holds a file's digest fit the file, so that only its content can tell."""
    record = path.with_name(sealed.RECORD_FILE)
    if path != record:
        enter(record, "files", path)
    enter(path.parents[1] / PARTS_FILE, "parts", record, path.parent.name)


def enter(listing: Path, table: str, file: Path, name: str = "") -> None:
    document = json.loads(listing.read_text())
    document[table][name or file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    listing.write_text(json.dumps(document))


def read_all(store: Store) -> tuple[StoredModel, Drift | None]:
    """Read all that a server reads of a model."""
    model = store.get(OWN)
    model.check_weights()
    model.read_ir_files("f32")
    ir.read_golden(model)
    return model, drift.read(model, "bf16")


@pytest.mark.parametrize("record", RECORDS)
def test_altered(made: Store, tmp_path: Path, record: str) -> None:
    """A record is refused with its path, shortly, or what is read of it has the right types."""
    store = Store(shutil.copytree(made.root, tmp_path / "store"))
    model = store.get(OWN)
    path = (model.folder / record).resolve()
    before = {each: each.read_bytes() for each in store.root.rglob("*.json")}

    @given(altered(json.loads(before[path])) | damaged([before[path]]))
    def check(data: bytes) -> None:
        for each, content in before.items():
            each.write_bytes(content)
        path.write_bytes(data)
        if "/" in record.removeprefix("../"):
            bind(path)
        found = attempt(ModelError, lambda: read_all(store))
        if isinstance(found, ModelError):
            assert str(model.folder.parent) in str(found)
            assert len(str(found)) < MOST_CHARACTERS
            return
        read, measured = found
        assert (read.version, read.manifest.input) == (model.version, model.manifest.input)
        read.source.encode()
        if accepted := read.provenance.acceptance:
            assert isinstance(accepted.at, str)
        if measured:
            assert all(math.isfinite(value) for value in astuple(measured))

    check()


def npy(header: str, values: bytes = b"") -> bytes:
    """A file with an array that says something of itself."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


ARRAYS = [
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 8), }"),
    npy("{'descr': '|S4', 'fortran_order': False, 'shape': (4, 8), }", b"text" * 32),
    npy("{'descr': '|O', 'fortran_order': False, 'shape': (4, 8), }", bytes(128)),
    npy("(" * 5_000),
    npy(" '''"),
    npy("\t 1\n  2"),
    zipped({"golden.npy": b""}),
]


def test_golden(made: Store, tmp_path: Path) -> None:
    """Golden embeddings are refused with their path, or are numbers for each sample face."""
    store = Store(shutil.copytree(made.root, tmp_path / "store"))
    path = store.get(OWN).ir_folder("f32") / GOLDEN_FILE
    right, shape = path.read_bytes(), ir.read_golden(store.get(OWN)).shape

    @given(damaged([right, *ARRAYS]))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        bind(path)
        found = attempt(StoreError, lambda: ir.read_golden(store.get(OWN)))
        if isinstance(found, StoreError):
            assert f"{path} holds no golden embeddings" in str(found)
        else:
            assert (found.shape, found.dtype) == (shape, np.float32)
            assert np.isfinite(found).all()

    check()
