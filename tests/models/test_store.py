"""The store of models."""

import json
from pathlib import Path

import numpy as np
import pytest

from face_embedding_models import formats, manifest
from face_embedding_models.errors import StoreError, UnknownModelError
from face_embedding_models.mxnet import checkpoint, params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol
from face_embedding_models.store import Store, default_root, sealed
from face_embedding_models.store.stored import Provenance, StoredModel

NAME = "face-recognition-mobilefacenet-arcface"
KNOWN = manifest.load(NAME)
NODES = (Node("null", "data"), Node("null", "w"), Node("_plus", "fc1", (0, 1)))
SYMBOL = symbol.dump(Symbol(NODES, (2,)))


def weights(value: int) -> bytes:
    return params.dump({"arg:w": np.full(3, value, np.float32)})


def files(value: int, symbol_bytes: bytes = SYMBOL) -> dict[str, bytes]:
    return checkpoint.files(symbol_bytes, weights(value))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(store: Store) -> StoredModel:
    added = store.add(KNOWN, files(1), Provenance("unverified", "somewhere"))
    store.use(added)
    return added


def test_model_is_found(store: Store, model: StoredModel) -> None:
    """A model that was added is found with its origin and source."""
    assert (store.get(NAME), model.origin, model.source) == (model, "unverified", "somewhere")


def test_names(store: Store, model: StoredModel) -> None:
    """The store lists the models that have weights."""
    assert store.names() == [model.manifest.name]


def test_empty_store(store: Store) -> None:
    """A store whose folder does not exist has no models."""
    assert store.names() == []


def test_checkpoint(model: StoredModel) -> None:
    """The checkpoint's bytes are the ones that were added, and so is its content."""
    read, arrays = model.read_checkpoint_files(), model.read_checkpoint().arrays
    assert (read, list(arrays)) == ((SYMBOL, weights(1)), ["w"])


def test_digest(model: StoredModel) -> None:
    """The digest and the embedding space follow from the bytes alone."""
    digest = formats.digest("mxnet", files(1))
    space = f"{NAME}/{digest[:16]}/fc1"
    assert (model.weights_sha256, model.embedding_space) == (digest, space)


def test_added_weights(store: Store, model: StoredModel) -> None:
    """Weights that are added are not in use yet."""
    store.add(KNOWN, files(2), Provenance("unverified", "elsewhere"))
    assert store.get(NAME) == model


def test_newer_weights(store: Store, model: StoredModel) -> None:
    """Other weights can be put to use, and the ones before stay in the store."""
    newer = store.add(KNOWN, files(2), Provenance("unverified", "elsewhere"))
    store.use(newer)
    assert (store.get(NAME), model.read_checkpoint_files()[1]) == (newer, weights(1))


def test_same_weights_again(store: Store, model: StoredModel) -> None:
    """Weights that are added again keep their folder and take the new origin."""
    again = store.add(KNOWN, files(1), Provenance("published", "archive"))
    assert (again.folder, store.get(NAME).origin) == (model.folder, "published")


def test_not_in_store(store: Store) -> None:
    """A model without weights is refused with the two ways to get some."""
    with pytest.raises(StoreError, match=f"{NAME} is not in the store .* import .* synthesize"):
        store.get(NAME)


def test_unknown_model(store: Store) -> None:
    """A name without a manifest is refused as unknown."""
    with pytest.raises(UnknownModelError, match="no model is called 'x'"):
        store.get("x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"checkpoint": 5}',
        '{"checkpoint": "../other/1"}',
        json.dumps({"checkpoint": "a" * 100_000}),
        "[" * 100_000,
    ],
    ids=["empty", "list", "no-key", "number", "path", "long", "deep"],
)
def test_damaged_current(store: Store, model: StoredModel, text: str) -> None:
    """A damaged note of the current checkpoint is reported with its path and what helps."""
    (model.folder.parent / "current.json").write_text(text)
    command = f"'face-embedding-server models use {NAME} VERSION'"
    with pytest.raises(StoreError, match=rf"{NAME}/current\.json is damaged: .{{1,240}}{command}"):
        store.get(NAME)
    store.use_version(NAME, model.version)
    assert store.get(NAME).version == model.version


def test_incomplete_record(store: Store, model: StoredModel) -> None:
    """A record that lacks the digest of the weights is refused."""
    record = model.checkpoint_folder / sealed.RECORD_FILE
    record.write_text(json.dumps({"files": {}}))
    with pytest.raises(StoreError, match=r"record\.json"):
        store.get(NAME)


def test_wrong_record(store: Store, model: StoredModel) -> None:
    """Of a record's value that is not known, an error shows no more than a line."""
    record = model.checkpoint_folder / sealed.RECORD_FILE
    known = json.loads(record.read_text()) | {"origin": "a" * 100_000}
    record.write_text(json.dumps(known))
    with pytest.raises(StoreError, match=r"record\.json is damaged: .{1,240}; import the model"):
        store.get(NAME)


def test_lost_checkpoint(store: Store, model: StoredModel) -> None:
    """A current checkpoint that is not there is reported."""
    model.checkpoint_folder.rename(model.folder / "moved")
    with pytest.raises(StoreError, match=r"checkpoint/record\.json is missing or damaged"):
        store.get(NAME)


def test_changed_parameters(model: StoredModel) -> None:
    """Parameters that were changed are not read."""
    (model.checkpoint_folder / formats.PARAMS_FILE).write_bytes(weights(2))
    with pytest.raises(StoreError, match=r"model-0000\.params was changed since it was written"):
        model.read_checkpoint()


def test_no_ir(model: StoredModel) -> None:
    """A model that was not converted is refused with the command that converts it."""
    with pytest.raises(StoreError, match=f"{NAME} has no IR at f32 .* models convert {NAME}'"):
        model.read_ir_files("f32")


def test_unwritable_root(tmp_path: Path) -> None:
    """A store whose folder cannot be made is reported as such."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write to the store: .*Not a dir"):
        Store(tmp_path / "file" / "store").add(KNOWN, files(1), Provenance("unverified", "x"))


def test_unwritable_current(store: Store) -> None:
    """A note of the current checkpoint that cannot be written leaves no temporary file."""
    (store.root / NAME / "current.json").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot write .*current\.json"):
        store.use(store.add(KNOWN, files(1), Provenance("unverified", "x")))
    assert not list(store.root.rglob(".pending*"))


def test_default_root() -> None:
    """The default store is in a folder of this project's."""
    assert default_root().parts[-2:] == ("face-embedding", "models")
