"""A server does not serve what means nothing, though an earlier program put it to use."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from face_embedding_models.store import Store
from face_embedding_server.inference.backends import BackendError
from support import MOBILE, running_server, small_settings
from support.older_store import changed, constant, put

BLIND = np.array([1, 1, 0]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("constant", "have nothing in common are the same"), ("blind", "its blue channel is another")],
)
def test_start(kind: str, message: str, store: Store, tmp_path: Path) -> None:
    """It refuses at start, says what is wrong with which version, and what to do."""
    own = Store(tmp_path / "store")
    shutil.copytree(store.root, own.root)
    good = own.get(MOBILE)
    bad = put(
        own, constant(good) if kind == "constant" else changed(good, conv_1_conv2d_weight=BLIND)
    )
    with pytest.raises(BackendError) as raised, running_server(small_settings(own)):
        pass
    assert f"{MOBILE} {bad.version} from" in str(raised.value)
    assert message in str(raised.value)
    assert "go back to another version with 'face-embedding-server models use'" in str(raised.value)
