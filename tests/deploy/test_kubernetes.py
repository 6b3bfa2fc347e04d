"""The Kubernetes manifests."""

import re
from typing import Any

import kubernetes_validate
import pytest
from deployed import DEPLOY, manifest, manifests, port, read, settings

NEWEST = kubernetes_validate.latest_version()
POD = manifest("Deployment")["spec"]["template"]["spec"]
(SERVER,) = POD["containers"]
PORTS = {each["name"]: each["containerPort"] for each in SERVER["ports"]}
LABELS = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
PODS = [POD, manifest("Job")["spec"]["template"]["spec"]]
KUSTOMIZATION = read("kubernetes/kustomization.yaml")
IMAGE = dict(re.findall(r"([A-Z_]+)=([^\s\\]+)", (DEPLOY / "Dockerfile").read_text("utf-8")))
ENVIRONMENT = {each["name"]: each["value"] for each in SERVER["env"]}
SETTINGS = settings(IMAGE | ENVIRONMENT)


def identity(each: dict[str, Any]) -> str:
    named = each["metadata"]
    return f"{each['kind']}-{named.get('name') or named['generateName']}"


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("document", list(manifests()), ids=identity)
def test_manifest_is_valid(document: dict[str, Any]) -> None:
    """The manifest has the form of the newest Kubernetes, without an unknown field."""
    kubernetes_validate.validate(document, NEWEST, strict=True)


def test_kustomization_has_all_but_the_job() -> None:
    """The kustomization applies all manifests; the job, which cannot be changed, is created."""
    files = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert set(KUSTOMIZATION["resources"]) == files - {"kustomization.yaml", "model-job.yaml"}


def test_images_are_the_same() -> None:
    """The job runs the image of the server, at a version that does not move."""
    (image,) = KUSTOMIZATION["images"]
    used = {container["image"] for pod in PODS for container in containers(pod)}
    assert used == {image["name"], f"{image['newName']}:{image['newTag']}"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", image["newTag"])


def test_namespace_is_one() -> None:
    """Everything is in the namespace that the manifests make."""
    (name,) = (each["metadata"]["name"] for each in manifests() if each["kind"] == "Namespace")
    others = [each["metadata"] for each in manifests() if each["kind"] != "Namespace"]
    assert {each["namespace"] for each in others} == {name}


def test_ports_are_those_of_the_settings() -> None:
    """The container's ports are those that its settings listen on."""
    addresses = (SETTINGS.address, SETTINGS.health_address, SETTINGS.metrics_address)
    assert [PORTS[name] for name in ("grpc", "health", "metrics")] == list(map(port, addresses))


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probe_asks_the_health_port(probe: str) -> None:
    """Probes ask the port without TLS, on all interfaces, since the kubelet can do nothing else."""
    assert SERVER[probe]["grpc"] == {"port": PORTS["health"]}
    assert ENVIRONMENT["FACE_EMBEDDING_HEALTH_ADDRESS"].startswith("0.0.0.0:")


def test_service_is_headless() -> None:
    """The service gives the addresses of the servers, and names a port that they have."""
    service = manifest("Service")["spec"]
    assert service["clusterIP"] == "None"
    assert [(each["port"], each["targetPort"]) for each in service["ports"]] == [
        (PORTS["grpc"], "grpc")
    ]


def test_selectors_match_the_servers() -> None:
    """Whatever selects the servers selects them, and not the job."""
    spec = manifest("Deployment")["spec"]
    selectors = [
        manifest("Service")["spec"]["selector"],
        spec["selector"]["matchLabels"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("NetworkPolicy", "face-embedding-server")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in POD["topologySpreadConstraints"]),
    ]
    assert all(selector == LABELS for selector in selectors)
    assert manifest("Job")["spec"]["template"]["metadata"]["labels"] != LABELS


def test_job_has_a_network_policy() -> None:
    """The network policy of the job selects the job."""
    policy = manifest("NetworkPolicy", "face-embedding-model")["spec"]
    labels = manifest("Job")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels


def test_network_policy_opens_known_ports() -> None:
    """Callers and the monitoring reach one port each, and nobody else any."""
    rules = manifest("NetworkPolicy", "face-embedding-server")["spec"]["ingress"]
    assert [each["ports"] for each in rules] == [[{"port": "grpc"}], [{"port": "metrics"}]]
    assert all(each["from"] for each in rules)


def test_autoscaler_scales_the_deployment() -> None:
    """The number of servers is the autoscaler's alone."""
    deployment = manifest("Deployment")
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]


def test_pods_have_time_to_stop() -> None:
    """The server may drain and give grace before it is killed."""
    assert POD["terminationGracePeriodSeconds"] > SETTINGS.drain_s + SETTINGS.grace_s


def test_plaintext_is_refused() -> None:
    """Without its certificate the server stops, and does not go on in plaintext."""
    assert SETTINGS.allow_plaintext_network is False
    assert SETTINGS.tls_certificate
    assert SETTINGS.tls_key
    assert SETTINGS.access


def test_mounts_are_defined() -> None:
    """Every mount has its volume, and every volume is mounted."""
    for pod in PODS:
        defined = {volume["name"] for volume in pod["volumes"]}
        mounts = [mount for container in containers(pod) for mount in container["volumeMounts"]]
        assert {mount["name"] for mount in mounts} == defined


def test_claims_and_accounts_are_defined() -> None:
    """The claim and the account that pods name are among the manifests."""
    claim = manifest("PersistentVolumeClaim", "face-embedding-models")["metadata"]["name"]
    account = manifest("ServiceAccount")["metadata"]["name"]
    for pod in PODS:
        claims = [volume["persistentVolumeClaim"] for volume in pod["volumes"][:1]]
        assert [each["claimName"] for each in claims] == [claim]
        assert pod["serviceAccountName"] == account


def test_secrets_are_made_as_written() -> None:
    """Every secret has its command in the kustomization, with the files that the settings name."""
    text = (DEPLOY / "kubernetes" / "kustomization.yaml").read_text("utf-8")
    commands = dict(re.findall(r"create secret \w+ (\S+) (.*)", text))
    folders = {each["name"]: each["mountPath"] for each in SERVER["volumeMounts"]}
    secrets = {
        folders[volume["name"]]: volume["secret"]["secretName"]
        for volume in POD["volumes"]
        if "secret" in volume
    }
    assert set(secrets.values()) == set(commands)
    for file in (SETTINGS.tls_certificate, SETTINGS.tls_key, SETTINGS.access):
        assert file
        assert file.name in commands[secrets[str(file.parent)]]


def test_pods_are_restricted() -> None:
    """Pods meet the restricted standard, have no token, and no variables of other services."""
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False


def test_containers_are_confined() -> None:
    """Containers have a read-only root, no capability, no way to get any, and a limit of memory."""
    for container in (each for pod in PODS for each in containers(pod)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_servers_cannot_change_models() -> None:
    """Only the job writes to the volume of the models."""
    (mount,) = (each for each in SERVER["volumeMounts"] if each["name"] == "models")
    assert mount == {"name": "models", "mountPath": str(SETTINGS.store), "readOnly": True}


def test_job_makes_the_served_model() -> None:
    """The job imports the model that the servers are told to serve."""
    (step,) = containers(PODS[1])
    assert step["args"][:3] == ["models", "import", SETTINGS.model]
