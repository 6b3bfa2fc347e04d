"""The dashboard and the alerts, against the metrics of a server."""

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import promql_parser
import pytest
from deployed import DEPLOY, read
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import FaceEmbeddingClient, FaceEmbeddingError, RawFace
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import running_server, small_settings

DASHBOARD = json.loads((DEPLOY / "grafana" / "face-embedding.json").read_text("utf-8"))
RULES = [rule for group in read("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]
SCALED = read("autoscaling/keda.yaml")["spec"]["triggers"]
ADAPTED = read("autoscaling/prometheus-adapter.yaml")["rules"]["custom"]
# What Grafana and the adapter put in place of their variables.
VARIABLES = {
    "$__rate_interval": "1m",
    "$instance": "127.0.0.1:9090",
    "<<.GroupBy>>": "pod",
    "<<.LabelMatchers>>": 'namespace="any"',
}
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
}
PROMETHEUS_OWN = {"up": {"job", "instance"}}
# As Kubernetes' pods are scraped.
SCRAPED_LABELS = {"job", "instance", "namespace", "pod"}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, with the name of what uses it."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for trigger in SCALED:
        if trigger["type"] == "prometheus":
            yield "KEDA", trigger["metadata"]["query"]
    for rule in ADAPTED:
        yield "adapter's series", rule["seriesQuery"]
        yield "adapter", rule["metricsQuery"]


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """The selectors of an expression."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    found: list[promql_parser.VectorSelector] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return found


@pytest.fixture(scope="module")
def metrics(store: Store, faces: list[Face]) -> list[Metric]:
    """What a server exposes that has answered, refused a face, and refused a call."""
    with running_server(small_settings(store, metrics_address="127.0.0.1:0")) as running:
        with FaceEmbeddingClient(running.address) as client:
            client.embed_many([RawFace(face, channel_order="BGR") for face in faces[:2]])
            with pytest.raises(FaceEmbeddingError):
                client.embed(b"no image")
        with grpc.insecure_channel(running.address) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/no.such.Service/Method")(b"")
        address = f"http://127.0.0.1:{running.server.metrics_port}/metrics"
        with urllib.request.urlopen(address) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))


def labels(metrics: list[Metric]) -> dict[str, set[str]]:
    """The labels that the series of each name have."""
    known = {name: set(names) for name, names in PROMETHEUS_OWN.items()}
    for metric in metrics:
        for suffix in SUFFIXES.get(metric.type, ()):
            known.setdefault(metric.name + suffix, set(SCRAPED_LABELS))
        for sample in metric.samples:
            known.setdefault(sample.name, set(SCRAPED_LABELS)).update(sample.labels)
    return known


@pytest.mark.parametrize("expression", [pytest.param(e, id=name) for name, e in expressions()])
def test_expression_is_of_metrics_that_exist(expression: str, metrics: list[Metric]) -> None:
    """The expression can be parsed, and names metrics, and labels of them, that a server has."""
    known = labels(metrics)
    found = selectors(expression)
    assert found
    for selector in found:
        assert selector.name in known
        names = {matcher.name for matcher in selector.matchers.matchers}
        assert names <= known[selector.name]


def test_stages_are_measured(metrics: list[Metric]) -> None:
    """An embedded face leaves its time in the stages that the dashboard shows."""
    (stages,) = (each for each in metrics if each.name == "face_embedding_stage_duration_seconds")
    counted = {s.labels["stage"] for s in stages.samples if s.name.endswith("_count") and s.value}
    assert {"decode", "queue", "infer", "respond"} <= counted


def test_alerts_name_reasons_that_exist() -> None:
    """A reason that an alert looks for is one of the contract."""
    names = pb.ErrorReason.DESCRIPTOR.values_by_name
    reasons = {name.removeprefix("ERROR_REASON_") for name in names}
    named = {
        reason
        for _, expression in expressions()
        for reasons_named in re.findall(r'reason=~?"([^"]+)"', expression)
        for reason in reasons_named.split("|")
    }
    assert named
    assert named <= reasons


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_explains_itself(rule: dict[str, Any]) -> None:
    """An alert says how bad it is, what is wrong, and what that means."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_dashboard_is_for_any_data_source() -> None:
    """Every panel asks the data source that is chosen, for the servers that are chosen."""
    names = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "instance"}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}"
            assert '"$instance"' in target["expr"]


def test_dashboard_panels_have_their_place() -> None:
    """No two panels have one number, and none lies upon another."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
