"""The comparison with other servers, held with servers of our own."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import bench
import peers
import pytest

from face_embedding_models.store import Store

ROOT = Path(__file__).parents[2]
# What has to be the same for all that are compared.
SHARED = ("grpcio", "numpy", "openvino", "protobuf")


def test_turns() -> None:
    """All are measured in turn under each load, and again in the next round."""
    turns: list[tuple[str, int]] = []

    def measure(name: str, callers: int) -> peers.Measured:
        turns.append((name, callers))
        return {"throughput": float(len(turns))}

    found = peers.compare({name: partial(measure, name) for name in "ab"}, rounds=3)
    assert turns == [("a", 16), ("b", 16), ("a", 1), ("b", 1)] * 3
    # The medians of the 1st, 5th and 9th turn, and of the 4th, 8th and 12th.
    assert (found["a"][16], found["b"][1]) == ({"throughput": 5}, {"throughput": 8})


def test_results() -> None:
    """Throughput and its share are of many callers, latency is of one."""
    alone = {"throughput": 500.0, "p50_ms": 2.0}
    served = {"throughput": 400.0, "p50_ms": 30.0, "server_cpu_ms": 3.0}
    lone = served | {"throughput": 200.0, "p50_ms": 2.5}
    found = {peers.ENGINE: {16: alone, 1: alone}, "served": {16: served, 1: lone}}
    assert peers.results_of("f32", found) == [
        peers.Result("f32", peers.ENGINE, 500, 1, None, 2),
        peers.Result("f32", "served", 400, 0.8, 3, 2.5),
    ]


@pytest.mark.parametrize("peer", peers.PEERS)
def test_pins(peer: str) -> None:
    """A peer runs on the same engine, gRPC and NumPy as this server."""
    pins, lock = (
        re.findall(rf"^((?:{'|'.join(SHARED)})==.*)$", file.read_text("utf-8"), re.MULTILINE)
        for file in (peers.PROGRAMS / f"{peer}.txt", ROOT / "requirements.lock")
    )
    assert {pin.partition("==")[0] for pin in pins} == set(SHARED)
    assert pins == lock


def test_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a peer's environment the program says what makes it."""
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    with pytest.raises(SystemExit, match=r"no environment.*`make peers` makes it"):
        peers.serving_peer("kserve", tmp_path, "f32", "latency")


@pytest.fixture(scope="module")
def own(store: Store) -> Iterator[bench.Server]:
    """A server of the stand-in, as a process."""
    with bench.serving(store.root, peers.MODEL, "f32") as server:
        yield server


@pytest.mark.slow
def test_two_servers(store: Store, own: bench.Server) -> None:
    """Two servers of our own agree, and are measured by both contracts under both loads."""
    with bench.serving(store.root, peers.MODEL, "f32") as second:
        servers = {"first": dict.fromkeys(peers.HINTS, own), "second": {16: second, 1: own}}
        peers.check_agreement(servers)
        found = peers.compare(
            {
                mode: partial(peers.measure, servers["second"], mode, 0.5)
                for mode in ("unary", "v2")
            },
            rounds=1,
        )
    for loads in found.values():
        # What many wait for each other is longer than what one waits for the engine.
        assert 0 < loads[1]["p50_ms"] < loads[16]["p50_ms"]
        assert loads[16]["throughput"] > 0
        assert loads[16]["server_cpu_ms"] > 0


@pytest.mark.slow
def test_disagreement(store: Store, own: bench.Server) -> None:
    """A server that gives another embedding for the same face is named, and nothing is measured."""
    flags = ("--store", store.root, "--model", peers.MODEL, "--address", "127.0.0.1:0")
    program = (bench.FOLDER / "with_engine.py", "constant", "serve")
    with bench.serving_by(*program, *flags) as constant:
        servers = {"ours": {16: own}, "constant": {16: constant}}
        with pytest.raises(ValueError, match="constant gives another embedding"):
            peers.check_agreement(servers)


@pytest.mark.slow
def test_engine(store: Store) -> None:
    """The bare engine is measured on the same IR, under both loads."""
    folder = store.get(peers.MODEL).ir_folder("f32")
    for callers in peers.HINTS:
        measured = peers.measure_engine(folder, "f32", 1, callers)
        assert measured["throughput"] > 0
        assert measured["p50_ms"] > 0
