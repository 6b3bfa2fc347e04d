"""The Helm chart, rendered by Helm."""

import json
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
from deployed import manifest, read, settings
from programs import CHART, helm, kustomized, rendered, the
from test_kubernetes import IMAGE, NEWEST, SERVER

from face_embedding_server.settings import ENVIRONMENT_PREFIX, Settings

pytestmark = pytest.mark.slow

FILL = json.dumps(manifest("Job")["spec"]["template"]["spec"]["containers"][0]["args"][1:])
AS_THE_MANIFESTS = ("--set-json", f"store.fill={FILL}")
PRECISION = ("--set", "settings.precision=auto", "--set", "settings.max_message_bytes=33554432")
VARIANTS = {
    "default": (),
    "as the manifests": AS_THE_MANIFESTS,
    "by the queue": ("--set", "autoscaling.by=queue"),
    "fixed number": ("--set", "autoscaling.by=none"),
    "store in the pod": ("--set", "store.in=pod", "--set-json", f"store.fill={FILL}"),
    "existing claim": ("--set", "store.claim=models"),
    "names like numbers": ("--set-string", "tls.secret=1,access.secret=true,store.claim=2"),
    "class like a number": ("--set-string", "store.storageClass=3"),
    "in a mesh": ("--set", "tls.secret=", "--set", "access.secret=", *PRECISION),
    "pod monitor": ("--set", "metrics.podMonitor=true"),
    "alone": ("--set", "networkPolicy.enabled=false", "--set", "disruption.enabled=false"),
}
VALUES = "helm/face-embedding/values.yaml"
# Which Helm adds, so that several releases can be in one namespace.
HELMS = {f"app.kubernetes.io/{name}" for name in ("instance", "managed-by", "version")} | {
    "helm.sh/chart"
}
OWN_KINDS = ("ScaledObject", "PodMonitor")


def without_helms_labels(node: Any) -> Any:
    """The node without the labels of Helm's, and lists of what has a name in order of it."""
    if isinstance(node, dict):
        return {key: without_helms_labels(each) for key, each in node.items() if key not in HELMS}
    if isinstance(node, list):
        each_named = all(isinstance(each, dict) and "name" in each for each in node)
        ordered = sorted(node, key=lambda each: each["name"]) if each_named else node
        return [without_helms_labels(each) for each in ordered]
    return node


def contents(documents: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """What the documents say, by kind and name, but for what is said of themselves."""
    for each in documents:
        name = each["metadata"].get("generateName") or each["metadata"]["name"].removesuffix("1")
        said = {key: value for key, value in each.items() if key != "metadata"}
        yield f"{each['kind']} {name}", without_helms_labels(said)


def test_chart_is_clean() -> None:
    """Helm's linter has nothing to warn of."""
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout
    assert "WARNING" not in result.stdout


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_chart_is_valid(arguments: tuple[str, ...]) -> None:
    """What the chart makes has the form of the newest Kubernetes, without an unknown field."""
    documents = rendered(*arguments)
    assert "Deployment" in {each["kind"] for each in documents}
    for each in documents:
        if each["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(each, NEWEST, strict=True)


def test_chart_is_the_manifests() -> None:
    """The chart's defaults make what the kustomization and its job make, but for the namespace."""
    plain = [each for each in kustomized() if each["kind"] != "Namespace"]
    assert dict(contents(rendered(*AS_THE_MANIFESTS))) == dict(contents([*plain, manifest("Job")]))


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_chart_has_settings_that_fit(arguments: tuple[str, ...]) -> None:
    """The server takes the settings that the chart makes, and has the time that it is told."""
    pod = the("Deployment", rendered(*arguments))["spec"]["template"]["spec"]
    environment = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    chosen = settings(IMAGE | environment)
    assert pod["terminationGracePeriodSeconds"] > chosen.drain_s + chosen.grace_s
    assert str(chosen.tls_certificate) != "None" or chosen.allow_plaintext_network


def test_large_numbers_are_written_out() -> None:
    """A number of many digits reaches the server as it was given."""
    pod = the("Deployment", rendered(*PRECISION))["spec"]["template"]["spec"]
    environment = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert environment["FACE_EMBEDDING_MAX_MESSAGE_BYTES"] == "33554432"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("modle=x", "modle"),
        ("settings.store=/elsewhere", "store"),
        ("settings.precison=auto", "precison"),
        ("store.in=pod", "fill"),
        ("autoscaling.by=queues", "by"),
        ("autoscaling.minReplicas=11", "is more than autoscaling.maxReplicas"),
    ],
)
def test_wrong_value_is_refused(wrong: str, named: str) -> None:
    """A value that the chart does not know, or that is its own, is refused by name."""
    result = helm("template", str(CHART), "--set", wrong)
    assert result.returncode != 0
    assert named in result.stderr


def test_chart_knows_the_settings() -> None:
    """The chart takes all settings of the server but those that are its own to give."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    known = schema["properties"]["settings"]["propertyNames"]["enum"]
    (server,) = the("Deployment", rendered())["spec"]["template"]["spec"]["containers"]
    given = {each["name"].removeprefix(ENVIRONMENT_PREFIX).lower() for each in server["env"]}
    image = {name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in IMAGE}
    own = (given | image) & set(Settings.model_fields) - set(read(VALUES)["settings"])
    assert set(known) == set(Settings.model_fields) - own


def test_chart_is_of_the_images_version() -> None:
    """The chart runs the image that the kustomization runs."""
    (image,) = read("kubernetes/kustomization.yaml")["images"]
    assert read("helm/face-embedding/Chart.yaml")["appVersion"] == image["newTag"]
    assert SERVER["image"] == image["name"]
