"""int8 by post-training quantization, and drift."""

import json
import math
import sys

import numpy as np
import pytest

from face_embedding_models import ir, quantization, sealed
from face_embedding_models.errors import QuantizationError, StoreError
from face_embedding_models.quantization import Drift
from face_embedding_models.store import Store
from support import MOBILE, Golden

# What NNCF and its dependencies say of one another.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
THRESHOLD = 0.4


@pytest.fixture(scope="module")
def drift(trained_store: Store, golden: Golden) -> Drift:
    """The drift of the trained MobileFaceNet at int8."""
    return quantization.quantize(trained_store.get(MOBILE), golden.faces, THRESHOLD)


def test_int8_stays_close(drift: Drift) -> None:
    """At int8 every face keeps a cosine of 0.995 to itself, and no pair changes sides."""
    assert (drift.faces, drift.pairs, drift.threshold) == (16, 120, THRESHOLD)
    assert drift.min_cosine >= 0.995
    assert drift.mean_cosine >= 0.997
    assert drift.flipped_decisions == 0


def test_drift_is_kept(drift: Drift, trained_store: Store) -> None:
    """The drift is read back from the store; f32 has none."""
    stored = trained_store.get(MOBILE)
    assert quantization.read_drift(stored, "int8") == drift
    assert quantization.read_drift(stored, "f32") is None
    assert quantization.read_drift(stored, "int4") is None


def test_same_interface(drift: Drift, trained_store: Store) -> None:
    """The int8 IR has the names and shapes of the f32 one, and is quantized."""
    assert drift
    networks = [ir.read(trained_store.get(MOBILE), precision) for precision in ("f32", "int8")]
    names = [[port.any_name for port in (*n.inputs, *n.outputs)] for n in networks]
    assert names == [["data", "pre_fc1"]] * 2
    kinds = [{node.get_type_name() for node in network.get_ops()} for network in networks]
    assert ["FakeQuantize" in each for each in kinds] == [False, True]


def test_too_few_faces(store: Store, golden: Golden) -> None:
    """Too few faces are refused with their number, and nothing is written."""
    stored = store.get(MOBILE)
    with pytest.raises(QuantizationError, match=r"7 faces are too few.*at least 8"):
        quantization.quantize(stored, golden.faces[:7], THRESHOLD)
    assert not stored.ir_folder("int8").exists()


@pytest.mark.parametrize("threshold", [math.nan, 1.1, -1.1])
def test_bad_threshold(threshold: float, store: Store, golden: Golden) -> None:
    """A threshold that no cosine can be is refused."""
    with pytest.raises(QuantizationError, match="is not a cosine similarity"):
        quantization.quantize(store.get(MOBILE), golden.faces, threshold)


def test_without_nncf(store: Store, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NNCF the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(QuantizationError, match=r"pip install .*\[server,quantize\]"):
        quantization.quantize(store.get(MOBILE), golden.faces, THRESHOLD)


def test_missing_ir(store: Store) -> None:
    """A precision that was not made is an error that says how to make it."""
    with pytest.raises(StoreError, match=f"models quantize {MOBILE} --images"):
        ir.read(store.get(MOBILE), "int8")


def test_damaged_ir(drift: Drift, trained_store: Store) -> None:
    """A changed int8 file is noticed."""
    assert drift
    file = trained_store.get(MOBILE).ir_folder("int8") / "model.bin"
    right = file.read_bytes()
    file.write_bytes(right[:-1])
    with pytest.raises(StoreError, match="was changed since it was written"):
        ir.read(trained_store.get(MOBILE), "int8")
    file.write_bytes(right)


def test_damaged_drift(drift: Drift, trained_store: Store) -> None:
    """A drift that lacks something in the record is an error about the store."""
    stored = trained_store.get(MOBILE)
    file = stored.ir_folder("int8") / sealed.RECORD_FILE
    right = file.read_text("utf-8")
    file.write_text(json.dumps(json.loads(right) | {"drift": {"faces": drift.faces}}), "utf-8")
    with pytest.raises(StoreError, match="its drift cannot be read"):
        quantization.read_drift(stored, "int8")
    file.write_text(right, "utf-8")


def test_drift_of_one_face() -> None:
    """One face makes no pair, and drifts all the same."""
    drift = quantization.drift_of(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), THRESHOLD)
    assert (drift.min_cosine, drift.pairs, drift.max_score_change) == (0, 0, 0)


def test_no_drift() -> None:
    """Embeddings do not drift from themselves, nor from their multiples."""
    embeddings = np.random.default_rng(0).normal(size=(5, 8))
    drift = quantization.drift_of(embeddings, 3 * embeddings, THRESHOLD)
    assert drift.min_cosine == pytest.approx(1)
    assert drift.max_score_change == pytest.approx(0, abs=1e-12)
    assert drift.flipped_decisions == 0


def test_drift_by_hand() -> None:
    """Two faces at 60 degrees of which one turns by 60 more: one pair, which flips."""
    half, root = 0.5, np.sqrt(0.75)
    before = np.array([[1.0, 0.0], [half, root]])
    after = np.array([[1.0, 0.0], [-half, root]])
    expected = Drift(2, 0.5, 0.75, 1, 1.0, 1, THRESHOLD)
    got = quantization.drift_of(before, after, THRESHOLD)
    assert tuple(vars(got).values()) == pytest.approx(tuple(vars(expected).values()))
