"""What the benchmark reads from the programs that it runs."""

import bench
import pytest

# As benchmark_app of OpenVINO 2026.4 prints it.
OUTPUT = """\
[ INFO ] Duration:         1002.20 ms
[ INFO ] Latency:
[ INFO ]    Median:        {median}
[ INFO ]    Average:       3.97 ms
[ INFO ] Throughput:   247.46 FPS
"""


@pytest.mark.parametrize(
    ("median", "latency_ms"), [("3.73 ms", 3.73), ("676.64 us", 0.67664)], ids=["ms", "us"]
)
def test_engine(median: str, latency_ms: float) -> None:
    """The engine's latency is in milliseconds, whichever unit it was printed in."""
    measured = bench.read_engine(OUTPUT.format(median=median))
    assert measured == pytest.approx((247.46, latency_ms))
