"""Stores that an earlier version of this program wrote, or that a later one did."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import StoreError
from face_embedding_models.formats import ONNX_FILE, PARAMS_FILE, SYMBOL_FILE
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store, parts, sealed
from face_embedding_models.store.parts import PARTS_FILE
from face_embedding_models.store.stored import Provenance
from support import MOBILE
from support.made_weights import OWN, SYMBOL, onnx_of, own_toml, params_of, sha256

RECORDS = ["../current.json", "parts.json", "checkpoint/record.json", "ir-f32/record.json"]


def fill(store: Store) -> None:
    known = manifest.parse(own_toml(onnx_of()))
    ir.put_to_use(store, known, {ONNX_FILE: onnx_of()}, Provenance("unverified", "a file"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("made"))
    fill(store)
    return store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    """A store with a model of one's own, that a test may change."""
    return Store(shutil.copytree(made.root, tmp_path / "store"))


def change(store: Store, record: str, how: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, and bind it again as another version would have."""
    (version,) = store.versions(OWN)
    folder = store.root / OWN / version
    path = folder / record
    document = json.loads(path.read_text())
    how(document)
    path.write_text(json.dumps(document))
    if path.name == sealed.RECORD_FILE:
        known = json.loads((folder / PARTS_FILE).read_text())
        known["parts"][path.parent.name] = sha256(path.read_bytes())
        (folder / PARTS_FILE).write_text(json.dumps(known))


def read_all(store: Store) -> None:
    model = store.get(OWN)
    model.check_weights()
    model.read_ir_files("f32")


@pytest.fixture
def first_store(tmp_path: Path) -> Store:
    """A store as the first version wrote it: without formats, names, versions and parts."""
    files = {PARAMS_FILE: params_of(), SYMBOL_FILE: SYMBOL}
    digest = sha256(files[PARAMS_FILE] + files[SYMBOL_FILE])
    folder = tmp_path / "first" / MOBILE / digest[:16] / "checkpoint"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    record = {"weights_sha256": digest, "origin": "unverified", "source": "model-y1-test2"}
    sums = {"files": {name: sha256(data) for name, data in sorted(files.items())}}
    (folder / "record.json").write_text(json.dumps(record | sums, indent=2) + "\n")
    current = json.dumps({"checkpoint": digest[:16]}) + "\n"
    (folder.parents[1] / "current.json").write_text(current)
    return Store(tmp_path / "first")


def test_first_store(first_store: Store) -> None:
    """The weights in the store of the first version are read."""
    model = first_store.get(MOBILE)
    assert (model.origin, model.source) == ("unverified", "model-y1-test2")
    assert model.read_checkpoint_files() == (SYMBOL, params_of())
    assert model.provenance.acceptance is None


def test_first_store_is_not_bound(first_store: Store) -> None:
    """They are not served before they are bound, which the error says how to do."""
    with pytest.raises(StoreError, match=f"an earlier version made it; .* models convert {MOBILE}"):
        first_store.get(MOBILE).check_weights()


def test_first_store_bound(first_store: Store) -> None:
    """What a version adds to such a store binds the weights that are there."""
    model = first_store.get(MOBILE)
    with parts.changing(model.folder) as pending:
        sealed.write(pending / "new", lambda _: None, {})
    first_store.get(MOBILE).check_weights()


@pytest.mark.parametrize("record", RECORDS)
def test_record_without_format(store: Store, record: str) -> None:
    """A record that says no format is of the first one."""
    change(store, record, lambda document: document.pop("store_format"))
    read_all(store)


@pytest.mark.parametrize("record", RECORDS)
def test_unknown_key(store: Store, record: str) -> None:
    """A key that a later version added is left aside."""
    change(store, record, lambda document: document.update(later={"of": [1]}))
    read_all(store)


def test_unknown_key_of_terms(store: Store) -> None:
    """So is one of accepted terms."""
    terms = {"terms": "mine", "stated_at": None, "at": "2026-01-31", "later": 1}
    change(store, RECORDS[2], lambda document: document.update(acceptance=terms))
    accepted = store.get(OWN).provenance.acceptance
    assert accepted
    assert accepted.terms == "mine"


@pytest.mark.parametrize("record", RECORDS)
def test_later_format(store: Store, record: str) -> None:
    """The format of a later version is refused by its number, with what to do."""
    change(store, record, lambda document: document.update(store_format=2, files=[], parts=[]))
    name = Path(record).name.replace(".", r"\.")
    message = rf"{name} has the store format 2, and this version reads up to 1: .* use that version"
    with pytest.raises(StoreError, match=message):
        read_all(store)


@pytest.mark.parametrize("record", RECORDS)
def test_later_format_imported_again(store: Store, record: str) -> None:
    """Importing the model again, as the refusal says, gives a store of this version's format."""
    change(store, record, lambda document: document.update(store_format=2))
    fill(store)
    read_all(store)


def test_later_origin(store: Store) -> None:
    """An origin that this version does not know is refused: it would have to say what it means."""
    change(store, RECORDS[2], lambda document: document.update(origin="notarized"))
    with pytest.raises(StoreError, match=r"record\.json is damaged: origin: Input should be 'pub"):
        store.get(OWN)


def change_manifest(store: Store, how: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest that was kept with weights, and their record of its digest."""
    (version,) = store.versions(OWN)
    path = store.root / OWN / version / "checkpoint" / "manifest.json"
    document = json.loads(path.read_text())
    how(document)
    path.write_text(json.dumps(document))
    digest = sha256(path.read_bytes())
    change(store, RECORDS[2], lambda known: known["files"].update({"manifest.json": digest}))


def test_later_manifest(store: Store) -> None:
    """A key of a manifest that this version does not know is refused: it may be what is fed."""
    change_manifest(store, lambda document: document["input"].update(gamma=2.2))
    with pytest.raises(StoreError, match=r"or has what a later version wrote: input\.gamma: "):
        store.get(OWN)


def test_earlier_manifest(store: Store) -> None:
    """A key of a manifest that an earlier version did not write has its default."""
    keys = ("archive", "network", "published", "parity")
    change_manifest(store, lambda document: [document.pop(name) for name in keys])
    read_all(store)
