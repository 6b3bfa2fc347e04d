"""How far a precision is from f32."""

import json
import math

import numpy as np
import pytest

from face_embedding_models.errors import DriftError, StoreError
from face_embedding_models.openvino import drift
from face_embedding_models.openvino.drift import Drift
from face_embedding_models.store import Store, sealed
from support import MOBILE, Golden, needs_bf16

THRESHOLD = 0.4


@needs_bf16
def test_bf16_stays_close(trained_store: Store, golden: Golden) -> None:
    """At bf16 every face keeps a cosine of 0.9998 to itself (measured 0.99992)."""
    measured = drift.measure(trained_store.get(MOBILE), "bf16", golden.faces, THRESHOLD)
    assert (measured.faces, measured.pairs, measured.threshold) == (16, 120, THRESHOLD)
    assert 0.9998 <= measured.min_cosine < 1
    assert measured.flipped_decisions == 0


@needs_bf16
def test_is_kept(trained_store: Store, golden: Golden) -> None:
    """The drift is read back from the store; f32 has none."""
    stored = trained_store.get(MOBILE)
    measured = drift.measure(stored, "bf16", golden.faces, THRESHOLD)
    assert drift.read(stored, "bf16") == measured
    assert drift.read(stored, "f32") is None


@needs_bf16
def test_is_of_one_ir(trained_store: Store, golden: Golden) -> None:
    """The drift of an IR that is there no more is not told."""
    stored = trained_store.get(MOBILE)
    drift.measure(stored, "bf16", golden.faces, THRESHOLD)
    record = stored.ir_folder("f32") / sealed.RECORD_FILE
    right = record.read_text("utf-8")
    record.write_text(json.dumps(json.loads(right) | {"files": {"model.bin": "0" * 64}}), "utf-8")
    assert drift.read(stored, "bf16") is None
    record.write_text(right, "utf-8")


@needs_bf16
def test_damaged(trained_store: Store, golden: Golden) -> None:
    """A drift that lacks something in the record is an error about the store."""
    stored = trained_store.get(MOBILE)
    drift.measure(stored, "bf16", golden.faces, THRESHOLD)
    file = stored.drift_folder("bf16") / sealed.RECORD_FILE
    right = file.read_text("utf-8")
    file.write_text(json.dumps(json.loads(right) | {"drift": {"faces": 1}}), "utf-8")
    with pytest.raises(
        StoreError, match=r"record\.json is damaged: drift\.min_cosine: .*; measure the drift again"
    ):
        drift.read(stored, "bf16")
    file.write_text(right, "utf-8")


def test_precision_not_of_this_machine(
    store: Store, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the processor runs another precision than the one asked for, nothing is measured."""
    monkeypatch.setattr(drift, "effective", lambda *_: "f32")
    with pytest.raises(DriftError, match="runs the model at f32, not at bf16"):
        drift.measure(store.get(MOBILE), "bf16", golden.faces, THRESHOLD)


@pytest.mark.parametrize("precision", ["f32", "int4"])
def test_bad_precision(precision: str, store: Store, golden: Golden) -> None:
    """What cannot drift is refused with what can."""
    with pytest.raises(DriftError, match=f"'{precision}' is not .* these are: bf16, int8"):
        drift.measure(store.get(MOBILE), precision, golden.faces, THRESHOLD)


def test_no_faces(store: Store) -> None:
    """Nothing can be measured on no face."""
    with pytest.raises(DriftError, match="there is none"):
        drift.measure(store.get(MOBILE), "bf16", [], THRESHOLD)


@pytest.mark.parametrize("threshold", [math.nan, 1.1, -1.1])
def test_bad_threshold(threshold: float, store: Store, golden: Golden) -> None:
    """A threshold that no cosine can be is refused."""
    with pytest.raises(DriftError, match="is not a cosine similarity"):
        drift.measure(store.get(MOBILE), "bf16", golden.faces, threshold)


def test_of_one_face() -> None:
    """One face makes no pair, and drifts all the same."""
    measured = drift.drift_of(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), THRESHOLD)
    assert (measured.min_cosine, measured.pairs, measured.max_score_change) == (0, 0, 0)


def test_none() -> None:
    """Embeddings do not drift from themselves, nor from their multiples."""
    embeddings = np.random.default_rng(0).normal(size=(5, 8))
    measured = drift.drift_of(embeddings, 3 * embeddings, THRESHOLD)
    assert measured.min_cosine == pytest.approx(1)
    assert measured.max_score_change == pytest.approx(0, abs=1e-12)
    assert measured.flipped_decisions == 0


def test_by_hand() -> None:
    """Two faces at 60 degrees of which one turns by 60 more: one pair, which flips."""
    half, root = 0.5, np.sqrt(0.75)
    before = np.array([[1.0, 0.0], [half, root]])
    after = np.array([[1.0, 0.0], [-half, root]])
    expected = Drift(2, 0.5, 0.75, 1, 1.0, 1, THRESHOLD)
    got = drift.drift_of(before, after, THRESHOLD)
    assert tuple(vars(got).values()) == pytest.approx(tuple(vars(expected).values()))
