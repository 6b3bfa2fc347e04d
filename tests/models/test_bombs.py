"""MXNet checkpoints that are small and ask for very much: each is refused with its place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import ModelError
from face_embedding_models.installing import importing
from face_embedding_models.mxnet import params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol
from face_embedding_models.openvino import ir, making
from face_embedding_models.store import Store
from support import MOBILE
from support.checkpoint_bombs import BOMBS, CONVOLUTION, WEIGHTS, Checkpoint

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("make", "message"), BOMBS.values(), ids=BOMBS)
def test_bomb(tmp_path: Path, make: Callable[[], Checkpoint], message: str) -> None:
    """It is refused before what it asks for is taken, and the store holds nothing."""
    expect_refusal(tmp_path, make(), message)


def expect_refusal(tmp_path: Path, given: Checkpoint, message: str) -> None:
    """Expect an import to be refused, and the store to hold nothing after it."""
    for name, data in zip(("m-symbol.json", "m-0000.params"), given, strict=True):
        (tmp_path / name).write_bytes(data)
    store = Store(tmp_path / "store")
    with pytest.raises(ModelError, match=message):
        importing.import_weights(
            store, manifest.load(MOBILE), [str(tmp_path)], allow_unverified=True, put=ir.put_to_use
        )
    assert not list(store.root.rglob("*"))


def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays below those bounds, and needs too much when it runs, ends at the limit."""
    monkeypatch.setattr(making, "BASE_BYTES", 1 << 29)
    nodes = (
        Node("null", "data"),
        Node("null", "w"),
        Node("Convolution", "c", (0, 1), CONVOLUTION | {"pad": "(3200, 3200)"}),
        Node("Pooling", "p", (2,), {"global_pool": "True", "pool_type": "max"}),
        Node("null", "v"),
        Node("FullyConnected", "fc1", (3, 4), {"num_hidden": "128", "no_bias": "True"}),
    )
    arrays = WEIGHTS | {"arg:v": np.ones((128, 3), np.float32)}
    given = symbol.dump(Symbol(nodes, (5,))), params.dump(arrays)
    expect_refusal(tmp_path, given, rf"{MOBILE}: converting it needs more than 512 MiB of memory")
