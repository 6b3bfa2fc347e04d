"""What the benchmark of the server's own cost makes of what it measures."""

import own_cost
import pytest

NOTHING = {"throughput": 1000.0, "server_cpu_ms": 0.2, "p50_ms": 0.5}


@pytest.mark.parametrize(
    ("number", "ours", "figure", "outcome"),
    [
        (0, {"throughput": 499.0}, 0.499, "MISSED"),
        (0, {"throughput": 501.0}, 0.501, "reached"),
        (1, {"server_cpu_ms": 0.3}, 0.1, "reached"),
        (2, {"p50_ms": 0.7}, 0.2, "MISSED"),
    ],
)
def test_figure(number: int, ours: dict[str, float], figure: float, outcome: str) -> None:
    """A figure is of the medians of all runs, and reached on the right side of its bound."""
    runs = [NOTHING | ours] * 2 + [dict.fromkeys(NOTHING, 1e6)]
    found = own_cost._figure(own_cost.TARGETS[number], runs, [NOTHING] * 3)
    assert found["figure"] == pytest.approx(figure)
    assert found["outcome"] == outcome
