"""What is served is what was made of the weights: every swap in a store is refused, and mended."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import StoreError
from face_embedding_models.formats import ONNX_FILE
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store, sealed
from face_embedding_models.store.parts import PARTS_FILE
from face_embedding_models.store.stored import GOLDEN_FILE, Provenance, StoredModel
from face_embedding_server.inference import loading
from support import small_settings
from support.made_weights import OWN, onnx_of, own_toml

OTHER = "other-model"


def add(store: Store, name: str, number: int) -> None:
    data = onnx_of(number)
    known = manifest.parse(own_toml(data, name=name))
    ir.put_to_use(store, known, {ONNX_FILE: data}, Provenance("unverified", f"file {number}"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a model in two versions, of which the second one is in use, and another one."""
    store = Store(tmp_path_factory.mktemp("made"))
    for name, number in ((OTHER, 2), (OWN, 0), (OWN, 1)):
        add(store, name, number)
    return store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    """A copy of that store that a test may change."""
    return Store(shutil.copytree(made.root, tmp_path / "store"))


def load(store: Store, precision: str = "f32") -> None:
    settings = small_settings(store, model=OWN, precision=precision)
    loading.load(store.get(OWN), settings, None, None).backend.close()


def earlier(store: Store) -> StoredModel:
    (version,) = {*store.versions(OWN)} - {store.get(OWN).version}
    return store.get_version(OWN, version)


def replace(target: Path, source: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


def edit(folder: Path, **changes: object) -> None:
    """Change what a record says, and seal the files that are there now."""
    files = {p.name: sealed.sha256_of(p) for p in folder.iterdir() if p.name != sealed.RECORD_FILE}
    record = sealed.read_record(folder) | {"files": files} | changes
    (folder / sealed.RECORD_FILE).write_text(json.dumps(record))


def ir_of_version(store: Store) -> None:
    replace(store.get(OWN).ir_folder("f32"), earlier(store).ir_folder("f32"))


def ir_of_model(store: Store) -> None:
    replace(store.get(OWN).ir_folder("f32"), store.get(OTHER).ir_folder("f32"))


def ir_that_lies(store: Store) -> None:
    ir_of_model(store)
    model = store.get(OWN)
    edit(model.ir_folder("f32"), **model.identity("f32"))


def golden(store: Store) -> None:
    folder = store.get(OWN).ir_folder("f32")
    shutil.copy(earlier(store).ir_folder("f32") / GOLDEN_FILE, folder)
    edit(folder)


def record_of_ir(store: Store) -> None:
    folders = earlier(store).ir_folder("f32"), store.get(OWN).ir_folder("f32")
    shutil.copy(folders[0] / sealed.RECORD_FILE, folders[1])


def without_parts(store: Store) -> None:
    """As an earlier version of this program made it."""
    (store.get(OWN).folder / PARTS_FILE).unlink()


def checkpoint_of_version(store: Store) -> None:
    replace(store.get(OWN).checkpoint_folder, earlier(store).checkpoint_folder)


def checkpoint_that_lies(store: Store) -> None:
    model = store.get(OWN)
    checkpoint_of_version(store)
    edit(model.checkpoint_folder, version=model.version, weights_sha256=model.weights_sha256)


def weights(store: Store) -> None:
    shutil.copy(earlier(store).checkpoint_folder / ONNX_FILE, store.get(OWN).checkpoint_folder)


def weights_that_lie(store: Store) -> None:
    """Changed weights, sealed and bound again: only their own digest tells."""
    weights(store)
    model = store.get(OWN)
    edit(model.checkpoint_folder)
    record = (model.checkpoint_folder / sealed.RECORD_FILE).read_bytes()
    path = model.folder / PARTS_FILE
    known = json.loads(path.read_text())
    known["parts"]["checkpoint"] = hashlib.sha256(record).hexdigest()
    path.write_text(json.dumps(known))


def origin(store: Store) -> None:
    edit(store.get(OWN).checkpoint_folder, origin="published")


def own_manifest(store: Store) -> None:
    folder = store.get(OWN).checkpoint_folder
    known = manifest.parse(own_toml(onnx_of(1), extra="mean = 5.0"))
    (folder / "manifest.json").write_text(manifest.to_json(known))
    edit(folder)


def parts_of_version(store: Store) -> None:
    shutil.copy(earlier(store).folder / PARTS_FILE, store.get(OWN).folder)


def junk_parts(store: Store) -> None:
    (store.get(OWN).folder / PARTS_FILE).write_text("[" * 100_000)


def whole_version(store: Store) -> None:
    replace(store.get(OWN).folder, earlier(store).folder)


CONVERTED: dict[Callable[[Store], None], str] = {
    ir_of_version: "ir-f32 is not what was made for my-model",
    ir_of_model: "ir-f32 is not what was made for my-model",
    ir_that_lies: "ir-f32 is not what was made for my-model",
    golden: "ir-f32 is not what was made for my-model",
    record_of_ir: "ir-f32 is not what was made for my-model",
    without_parts: "checkpoint is not bound to its weights, an earlier version made it",
}
IMPORTED: dict[Callable[[Store], None], str] = {
    checkpoint_of_version: "record.json is of my-model",
    checkpoint_that_lies: "checkpoint is not what was made for my-model",
    weights_that_lie: "checkpoint holds weights of the SHA-256",
    origin: "checkpoint is not what was made for my-model",
    own_manifest: "checkpoint is not what was made for my-model",
    parts_of_version: "parts.json belongs to my-model",
    junk_parts: "parts.json is damaged",
    whole_version: "record.json is of my-model",
}


def ids(swap: object) -> str:
    return getattr(swap, "__name__", "")


@pytest.mark.parametrize(("swap", "message"), CONVERTED.items(), ids=ids)
def test_swap_that_is_converted(store: Store, swap: Callable[[Store], None], message: str) -> None:
    """An IR that was not made of the weights is refused with the command that makes it again."""
    swap(store)
    with pytest.raises(StoreError, match=f"{message}.* with '.* models convert my-model'"):
        load(store)
    ir.convert(store.get(OWN))
    load(store)


@pytest.mark.parametrize(("swap", "message"), IMPORTED.items(), ids=ids)
def test_swap_that_is_imported(store: Store, swap: Callable[[Store], None], message: str) -> None:
    """Weights that are not the version's are refused, and importing them mends it."""
    swap(store)
    with pytest.raises(StoreError, match=f"{message}.*; import the model again"):
        load(store)
    add(store, OWN, 1)
    load(store)


def test_changed_file(store: Store) -> None:
    """Weights that are not what was sealed are refused though only the IR is served."""
    weights(store)
    with pytest.raises(StoreError, match=r"model\.onnx was changed since it was written"):
        load(store)


def test_changed_weights_are_not_bound(store: Store) -> None:
    """Converting does not make changed weights count as the version's."""
    origin(store)
    with pytest.raises(StoreError, match=r"checkpoint was changed .*; import the model again"):
        ir.convert(store.get(OWN))


def test_other_precision(store: Store) -> None:
    """The IR of one precision does not pass for that of another."""
    model = store.get(OWN)
    shutil.copytree(model.ir_folder("f32"), model.ir_folder("int8"))
    with pytest.raises(StoreError, match=r"ir-int8 is not what was made .* models quantize my-mod"):
        load(store, "int8")


def test_changed_manifest(store: Store) -> None:
    """An IR that was made for another manifest of the same weights is refused."""
    model = store.get(OWN)
    fed = dataclasses.replace(model.manifest.input, channel_order="BGR")
    other = dataclasses.replace(model, manifest=dataclasses.replace(model.manifest, input=fed))
    with pytest.raises(StoreError, match=r"was made for the network_sha256 .* convert my-model'"):
        other.read_ir_files("f32")


def test_kept_parts(store: Store) -> None:
    """What belongs to a version stays with it when it is imported again."""
    before = store.get(OWN)
    files = before.read_ir_files("f32")
    data = {ONNX_FILE: onnx_of(1)}
    store.add(before.manifest, data, Provenance("published", "archive"))
    after = store.get(OWN)
    assert (after.origin, after.read_ir_files("f32")) == ("published", files)


def test_foreign_part_is_not_kept(store: Store) -> None:
    """What was put beside a version by hand is gone after the next change."""
    model = store.get(OWN)
    shutil.copytree(model.ir_folder("f32"), model.ir_folder("int8"))
    ir.convert(model)
    assert not model.ir_folder("int8").exists()
