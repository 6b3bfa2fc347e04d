"""Envoy's configuration and its manifests."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deployed import DEPLOY, manifest, port, read

MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "envoy" / "kubernetes.yaml").read_text("utf-8"))
)
DEPLOYMENT, SERVICE, DISRUPTION, POLICY = MANIFESTS
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
RESOURCES = read("envoy/envoy.yaml")["static_resources"]
SERVERS = next(each for each in RESOURCES["clusters"] if each["name"] == "servers")


def listening() -> int:
    (listener,) = RESOURCES["listeners"]
    found: int = listener["address"]["socket_address"]["port_value"]
    return found


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda each: each["kind"])
def test_manifest_is_valid(document: dict[str, Any]) -> None:
    """The manifest has the form of the newest Kubernetes, in the namespace of the servers."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert document["metadata"]["namespace"] == manifest("Service")["metadata"]["namespace"]


def test_servers_are_those_of_the_headless_service() -> None:
    """Envoy looks up the name of the servers' service, at the port that this has."""
    ((endpoint,),) = (each["lb_endpoints"] for each in SERVERS["load_assignment"]["endpoints"])
    address = endpoint["endpoint"]["address"]["socket_address"]
    service = manifest("Service")
    assert address["address"] == service["metadata"]["name"]
    assert address["port_value"] == service["spec"]["ports"][0]["port"]


def test_draining_outlasts_the_checks() -> None:
    """A server of the manifests that stops says so for longer than until Envoy asks again."""
    (container,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    drain_s = next(
        each["value"] for each in container["env"] if each["name"] == "FACE_EMBEDDING_DRAIN_S"
    )
    (check,) = SERVERS["health_checks"]
    assert float(drain_s) >= 2 * float(check["interval"].removesuffix("s"))


def test_ports() -> None:
    """The container and the service have the port that Envoy listens on."""
    assert [each["containerPort"] for each in CONTAINER["ports"]] == [listening()]
    assert [each["port"] for each in SERVICE["spec"]["ports"]] == [listening()]


def test_mounts() -> None:
    """Every file that TLS names is in a folder that the container has, and so is what it reads."""
    folders = [Path(each["mountPath"]) for each in CONTAINER["volumeMounts"]]
    text = (DEPLOY / "envoy" / "tls.yaml").read_text("utf-8")
    files = [word.rstrip(" }") for word in text.split("filename: ")[1:]]
    named = [Path(each.split()[0]) for each in files] + [Path(CONTAINER["args"][1])]
    assert len(named) == 6
    assert all(each.parent in folders for each in named)


def test_page() -> None:
    """The container has the folder of the page, and starts without the page too."""
    text = (DEPLOY / "envoy" / "envoy.yaml").read_text("utf-8")
    (mount,) = (each for each in CONTAINER["volumeMounts"] if each["name"] == "page")
    (volume,) = (each for each in POD["volumes"] if each["name"] == "page")
    assert f"file_path_prefix: {mount['mountPath']}/" in text
    assert volume["configMap"]["optional"]


def test_servers_let_it_in() -> None:
    """The servers' pods take connections of Envoy's, which are labelled as it says."""
    (rule,) = POLICY["spec"]["ingress"]
    (source,) = rule["from"]
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert source["podSelector"]["matchLabels"] == labels
    servers = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert POLICY["spec"]["podSelector"]["matchLabels"] == servers


def test_administration_is_for_its_own_machine() -> None:
    """Nobody else reaches the port by which Envoy can be ended."""
    admin = read("envoy/envoy.yaml")["admin"]["address"]["socket_address"]
    assert admin["address"] == "127.0.0.1"
    assert port(f"{admin['address']}:{admin['port_value']}") != listening()
