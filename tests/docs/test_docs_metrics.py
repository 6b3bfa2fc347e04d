"""The metrics in the documentation are those that the server has."""

import re

from docs_pages import DOCS, PAGES
from prometheus_client import generate_latest

from face_embedding_server.processes.scrapes import MembersCollector
from face_embedding_server.telemetry.metrics import Metrics

PACKAGES = {"face_embedding_client", "face_embedding_server", "face_embedding_models"}
_ROW = re.compile(r"^\| `(face_embedding_\w+)` \| (\w+) \| (.*?) ?\|", re.MULTILINE)

Facts = tuple[str, list[str]]


def exposed() -> dict[str, Facts]:
    """The types and the labels of the metrics, by name."""
    registry = Metrics().registry
    text = generate_latest(registry).decode()
    types = re.findall(r"^# TYPE (face_embedding_\w+) (\w+)$", text, re.MULTILINE)
    # Prometheus' client adds when each began; that is no metric of ours.
    of_processes = {
        f"{each.name}_total" if each.type == "counter" else each.name: (each.type, ["process"])
        for each in MembersCollector([]).collect()
    }
    return of_processes | {
        name: (kind, list(registry._names_to_collectors[name]._labelnames))
        for name, kind in types
        if not name.endswith("_created")
    }


def documented() -> dict[str, Facts]:
    """The types and the labels in the table of metrics, by name."""
    table = (DOCS / "operations.md").read_text("utf-8")
    return {
        name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in _ROW.findall(table)
    }


def test_table() -> None:
    """The table of metrics has each metric with its type and labels, and no other."""
    assert documented() == exposed()


def test_names() -> None:
    """No page names a metric that does not exist."""
    suffixes = r"_(bucket|sum|count)$"
    for page in PAGES:
        for name in re.findall(r"\bface_embedding_\w+", page.read_text("utf-8")):
            assert {name, re.sub(suffixes, "", name)} & {*exposed(), *PACKAGES}, (page.name, name)
