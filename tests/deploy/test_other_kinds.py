"""What is of other projects' kinds: autoscaling by KEDA or an adapter, monitoring, and KServe."""

import ast
import sys
from typing import Any

import kubernetes_validate
import pytest
from deployed import manifest, port, read, settings
from programs import FOLDER, rendered, the
from test_kubernetes import IMAGE, NEWEST, SETTINGS

pytestmark = pytest.mark.slow

KEDA = read("autoscaling/keda.yaml")
ADAPTER = read("autoscaling/prometheus-adapter.yaml")["rules"]["custom"]
QUEUE = read("autoscaling/queue.yaml")
RUNTIME = read("kserve/runtime.yaml")
SERVICE = read("kserve/service.yaml")
(CONTAINER,) = RUNTIME["spec"]["containers"]
BY_QUEUE = ("--set", "autoscaling.by=queue")
MONITORED = ("--set", "metrics.podMonitor=true")


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of others' kinds can be imported."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])


@pytest.mark.usefixtures("others")
def test_scaled_object_is_valid() -> None:
    """The ScaledObject is one of KEDA's, without an unknown field."""
    from cloudcoil.models.keda.v1alpha1 import ScaledObject

    assert ScaledObject.model_validate(KEDA, strict=True, extra="forbid").spec


@pytest.mark.usefixtures("others")
def test_pod_monitor_is_valid() -> None:
    """The chart's PodMonitor is one of Prometheus' operator's, without an unknown field."""
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor

    monitor = the("PodMonitor", rendered(*MONITORED))
    assert PodMonitor.model_validate(monitor, extra="forbid").spec


def test_chart_scales_as_the_scaled_object() -> None:
    """The chart's ScaledObject is the one beside the manifests."""
    assert the("ScaledObject", rendered(*BY_QUEUE))["spec"] == KEDA["spec"]


def test_autoscalers_agree() -> None:
    """KEDA and the adapter scale the deployment alike, and as the processors alone do."""
    plain = manifest("HorizontalPodAutoscaler")["spec"]
    resource, pods = QUEUE["spec"]["metrics"]
    cpu, waiting = KEDA["spec"]["triggers"]
    assert {**QUEUE["spec"], "metrics": [resource]} == plain
    assert KEDA["spec"]["scaleTargetRef"]["name"] == plain["scaleTargetRef"]["name"]
    assert KEDA["spec"]["minReplicaCount"] == plain["minReplicas"]
    assert KEDA["spec"]["maxReplicaCount"] == plain["maxReplicas"]
    assert cpu["metadata"]["value"] == str(resource["resource"]["target"]["averageUtilization"])
    assert waiting["metadata"]["threshold"] == pods["pods"]["target"]["averageValue"]


def test_adapter_makes_the_autoscalers_metric() -> None:
    """The metric that the autoscaler asks for is the one that the rule makes."""
    (rule,) = ADAPTER
    assert QUEUE["spec"]["metrics"][1]["pods"]["metric"]["name"] == rule["name"]["as"]
    kubernetes_validate.validate(QUEUE, NEWEST, strict=True)


def test_monitoring_knows_the_servers_by_the_alerts_name() -> None:
    """The job of Prometheus' operator has the name that alerts and autoscalers ask for."""
    documents = rendered(*MONITORED)
    monitor = the("PodMonitor", documents)["spec"]
    labels = the("Deployment", documents)["spec"]["template"]["metadata"]["labels"]
    assert labels[monitor["jobLabel"]] == "face-embedding"
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


def kserve_type(name: str) -> dict[str, str]:
    """The types of the fields of one of KServe's types, by their names in YAML."""
    words = [f"_{letter.lower()}" if letter.isupper() else letter for letter in name]
    file = FOLDER / "kserve" / "models" / f"{''.join(words).removeprefix('_')}.py"
    (found,) = (
        node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.ClassDef)
    )
    types, names = (
        ast.literal_eval(node.value)
        for node in found.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) in ("openapi_types", "attribute_map")
    )
    return {names[field]: types[field] for field in types}


def unknown(value: Any, of: str) -> list[str]:
    """The fields in a value of one of KServe's types that it has not; Kubernetes' are left out."""
    if of.startswith("list["):
        return [each for item in value for each in unknown(item, of[5:-1])]
    if not of.startswith(("V1alpha1", "V1beta1")):
        return []
    known = kserve_type(of)
    return [f"{of}.{name}" for name in value if name not in known] + [
        each for name in value if name in known for each in unknown(value[name], known[name])
    ]


@pytest.mark.parametrize(
    ("document", "kind"),
    [(RUNTIME, "V1alpha1ServingRuntime"), (SERVICE, "V1beta1InferenceService")],
    ids=["runtime", "service"],
)
def test_kserve_knows_all_fields(document: dict[str, Any], kind: str) -> None:
    """The manifest has no field that KServe's types have not."""
    assert unknown(document, kind) == []
    assert unknown({"spec": {"modle": ""}}, kind) == [f"{kind}Spec.modle"]


def test_kserve_container_is_valid() -> None:
    """The runtime's container is one of Kubernetes', and confined as that of the manifests."""
    spec = {name: RUNTIME["spec"][name] for name in ("containers", "volumes")}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    kubernetes_validate.validate(pod, NEWEST, strict=True)
    given = CONTAINER["securityContext"]
    (server,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    assert server["securityContext"].items() <= given.items()
    assert (given["runAsNonRoot"], given["runAsUser"]) == (True, 65532)
    assert server["resources"] == CONTAINER["resources"]


def test_kserve_runs_the_server() -> None:
    """The server takes the settings, serves the manifests' model, and is asked at its ports."""
    model = SERVICE["spec"]["predictor"]["model"]
    environment = {each["name"]: each["value"] for each in [*CONTAINER["env"], *model["env"]]}
    chosen = settings(IMAGE | environment)
    assert chosen.model == SETTINGS.model
    assert CONTAINER["ports"] == [
        {"name": "h2c", "containerPort": port(chosen.address), "protocol": "TCP"}
    ]
    assert CONTAINER["readinessProbe"]["grpc"] == {"port": port(chosen.health_address)}
    stops = SERVICE["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert stops > chosen.drain_s + chosen.grace_s


def test_kserve_service_is_of_the_runtime() -> None:
    """The service names the runtime, with a format and a protocol that it has, and the volume."""
    model = SERVICE["spec"]["predictor"]["model"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    formats = [each["name"] for each in RUNTIME["spec"]["supportedModelFormats"]]
    assert model["modelFormat"]["name"] in formats
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]
    claim = manifest("PersistentVolumeClaim", "face-embedding-models")["metadata"]["name"]
    assert model["storageUri"] == f"pvc://{claim}"
