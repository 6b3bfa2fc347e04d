"""Calibration files, whatever is in them."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import (
    Calibration,
    CalibrationError,
    OperatingPoint,
)
from support.damage import attempt, damaged, json_values

POINT = OperatingPoint("1e-3", 0.4, 0.35, 0.45, 1e-3, 2e-3, 0.01, 0.02)
GOOD = Calibration("model/0123/f32", 300, 900, (POINT,))
_SIMILARITIES = st.floats(-1, 1)
_RATES = st.floats(0, 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibration") / "calibration.json"


def check(path: Path) -> None:
    found = attempt(CalibrationError, lambda: operating_points.read(path))
    if isinstance(found, CalibrationError):
        assert str(path) in str(found)
        return
    for point in found.operating_points:
        thresholds = (point.threshold_low, point.threshold, point.threshold_high)
        assert all(math.isfinite(each) and -1 <= each <= 1 for each in thresholds)
        assert 0 <= point.false_match_rate <= 1
        assert isinstance(point.name, str)
    assert isinstance(found.space, str)


@given(data=damaged([json.dumps(asdict(GOOD)).encode()]))
def test_damaged(path: Path, data: bytes) -> None:
    """A damaged calibration is refused with its path, or every threshold in it is a similarity."""
    path.write_bytes(data)
    check(path)


@given(
    document=json_values()
    | st.fixed_dictionaries(
        {
            "space": st.just(GOOD.space) | json_values(),
            "same_pairs": st.integers() | json_values(),
            "different_pairs": st.integers() | json_values(),
            "operating_points": st.lists(
                st.fixed_dictionaries(
                    {
                        name: st.just(value) | st.floats() | json_values()
                        for name, value in asdict(POINT).items()
                    }
                ),
                max_size=2,
            ),
        }
    )
)
def test_any_json(path: Path, document: object) -> None:
    """So is any JSON, numbers that are none included."""
    path.write_text(json.dumps(document), "utf-8")
    check(path)


@given(depth=st.integers(1, 5).map(lambda n: 10**n))
def test_deep(path: Path, depth: int) -> None:
    """Lists within lists are refused, however deep."""
    path.write_text("[" * depth + "]" * depth, "utf-8")
    with pytest.raises(CalibrationError):
        operating_points.read(path)


@given(low=_SIMILARITIES, middle=_SIMILARITIES, high=_SIMILARITIES, rate=_RATES)
def test_written(path: Path, low: float, middle: float, high: float, rate: float) -> None:
    """A calibration is read as it was written."""
    first, second, third = sorted((low, middle, high))
    point = OperatingPoint("x", second, first, third, rate, rate, rate, rate)
    made = Calibration("model/0123/f32", 2, 3, (point,))
    operating_points.write(made, path)
    assert operating_points.read(path) == made
