"""int8 by post-training quantization."""

import sys

import pytest

from face_embedding_models.errors import QuantizationError, StoreError
from face_embedding_models.openvino import drift, ir, quantization
from face_embedding_models.openvino.drift import Drift
from face_embedding_models.store import Store
from support import MOBILE, Golden

# What NNCF and its dependencies say of one another.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
THRESHOLD = 0.4


@pytest.fixture(scope="module")
def measured(trained_store: Store, golden: Golden) -> Drift:
    """The drift of the trained MobileFaceNet at int8."""
    return quantization.quantize(trained_store.get(MOBILE), golden.faces, THRESHOLD)


def test_int8_stays_close(measured: Drift) -> None:
    """Every face keeps a cosine of 0.995 to itself, held out or not, and no pair changes sides."""
    assert (measured.faces, measured.pairs, measured.threshold) == (16, 120, THRESHOLD)
    assert measured.min_cosine >= 0.995
    assert measured.mean_cosine >= 0.997
    assert measured.flipped_decisions == 0


def test_drift_is_kept(measured: Drift, trained_store: Store) -> None:
    """The drift is read back from the store."""
    assert drift.read(trained_store.get(MOBILE), "int8") == measured


def test_same_interface(measured: Drift, trained_store: Store) -> None:
    """The int8 IR has the names and shapes of the f32 one, and is quantized."""
    assert measured
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


def test_without_nncf(store: Store, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NNCF the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(QuantizationError, match=r"pip install .*\[server,quantize\]"):
        quantization.quantize(store.get(MOBILE), golden.faces, THRESHOLD)


def test_missing_ir(store: Store) -> None:
    """A precision that was not made is an error that says how to make it."""
    with pytest.raises(StoreError, match=f"models quantize {MOBILE} --images"):
        ir.read(store.get(MOBILE), "int8")


def test_damaged_ir(measured: Drift, trained_store: Store) -> None:
    """A changed int8 file is noticed."""
    assert measured
    file = trained_store.get(MOBILE).ir_folder("int8") / "model.bin"
    right = file.read_bytes()
    file.write_bytes(right[:-1])
    with pytest.raises(StoreError, match="was changed since it was written"):
        ir.read(trained_store.get(MOBILE), "int8")
    file.write_bytes(right)
