"""The page on performance compares this server with the peers as they are measured."""

import json
import sys

from docs_pages import DOCS, ROOT, pages

# Last, as a module there has the name of one of Python's.
sys.path.append(str(ROOT / "benchmarks"))
import peers
import peers_page

SAVED = json.loads(pages.PEERS_RESULTS.read_text("utf-8"))


def test_results() -> None:
    """What was saved has all that are compared, in their order and at the versions of today."""
    versions = [f"{name} {peers.version(peer)}" for peer, name in peers.PEERS.items()]
    names = [peers.ENGINE, peers.EMBED, peers.V2, *versions]
    # What the processor does not have natively is not measured.
    precisions = list(dict.fromkeys(row["precision"] for row in SAVED))
    assert precisions == list(peers.PRECISIONS)[: len(precisions)]
    assert [(row["precision"], row["name"]) for row in SAVED] == [
        (precision, name) for precision in precisions for name in names
    ]


def test_shares() -> None:
    """A share is that of the engine's throughput at the same precision."""
    whole = {row["precision"]: row["throughput"] for row in SAVED if row["name"] == peers.ENGINE}
    for row in SAVED:
        assert round(row["throughput"] / whole[row["precision"]], 6) == round(row["share"], 6)


def test_table() -> None:
    """The page shows a row for each that is compared, with what was saved of it."""
    assert pages.PEERS in (DOCS / "performance.md").read_text("utf-8")
    _, _, *lines = peers_page.render(pages.PEERS_RESULTS).splitlines()
    shown = {name: figures for name, *figures in (line[2:-2].split(" | ") for line in lines)}
    for name, figures in shown.items():
        saved = [row for row in SAVED if row["name"] == name]
        shares, cpu, latencies = figures[::3], figures[1::3], figures[2::3]
        assert shares == [f"{row['share']:.2f}" for row in saved]
        assert latencies == [f"{row['p50_ms']:.2f}" for row in saved]
        assert cpu == [
            f"{row['server_cpu_ms']:.2f}" if row["server_cpu_ms"] else "–" for row in saved
        ]
    assert list(shown) == list(dict.fromkeys(row["name"] for row in SAVED))


def test_settings() -> None:
    """The page names the versions that are measured."""
    text = (DOCS / "performance.md").read_text("utf-8")
    for peer, name in peers.PEERS.items():
        assert f"{name} {peers.version(peer)}" in text
