"""What the benchmark of several processes makes of what it measures."""

import processes
import pytest
from processes import Measured, Series

SERIES = Series("sleep", (1, 2, 4), 0.9)


@pytest.mark.parametrize(
    ("last", "end"), [(72.1, "0.90: reached"), (71.9, "0.90: MISSED"), (80, "0.90: reached")]
)
def test_rows(last: float, end: str) -> None:
    """The last number of processes is held against so many times what one gives."""
    found = [Measured("sleep", 1, 20, 0.9), Measured("sleep", 4, last, 0.8)]
    first, second = processes.rows(SERIES, found)
    assert first.rstrip().endswith("idle")
    assert second.endswith(end)
