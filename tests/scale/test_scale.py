"""Replicas behind Envoy answer so many times what one engine does."""

import dataclasses
from collections.abc import Callable

import pytest

import scale
from face_embedding_models.store import Store


@pytest.mark.alone
def test_efficiency(store: Store, tell: Callable[[str], None]) -> None:
    """Eight with engines that sleep reach 0.9 of what these give together."""
    found = scale.measure(store.root, "envoy", "sleep", scale.PROMISED)
    share = scale.efficiency(found)
    tell(f"8 replicas behind Envoy: {found.throughput:.0f} calls/s, efficiency {share:.2f}")
    assert share >= scale.BOUND


def test_row() -> None:
    """Eight replicas are held against what is promised, as a share of what their engines give."""
    found = scale.Measured("envoy", "sleep", 8, 64, 143.9, 400, 500, 0.1)
    assert scale.row(found).endswith("efficiency 0.90  0.90: MISSED")
    assert "0.90: reached" in scale.row(dataclasses.replace(found, throughput=144.1))
