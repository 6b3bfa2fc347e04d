"""The Dockerfile, and the compose file that uses it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deployed import DEPLOY, port, read, settings
from pydantic import ValidationError

DOCKERFILE = DEPLOY / "Dockerfile"
ROOT = DEPLOY.parent
COMPOSE = read("compose.yaml")
USER = "65532:65532"


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage: their names and the rest of their lines."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.M))
    pairs = [(name, rest.strip()) for name, rest in re.findall(r"^([A-Z]+) (.*)$", text, re.M)]
    starts = [index for index, (name, _) in enumerate(pairs) if name == "FROM"]
    return pairs[starts[stage] : [*starts[1:], len(pairs)][stage]]


def the(name: str) -> str:
    """The only instruction of a name in the last stage."""
    (rest,) = (rest for each, rest in instructions(-1) if each == name)
    return rest


ENVIRONMENT = dict(word.split("=", 1) for word in shlex.split(the("ENV")))


def test_dockerfile_is_clean() -> None:
    """The linter, hadolint, has nothing to say about the Dockerfile."""
    linter = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([linter, DOCKERFILE], check=False, capture_output=True, text=True)
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0


def test_image_context_has_what_is_copied() -> None:
    """What the Dockerfile copies exists, and is all that the build is given."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    given = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source for name, rest in instructions(0) if name == "COPY" for source in rest.split()[:-1]
    }
    assert "*" in ignored
    assert copied == given
    assert all((ROOT / name).exists() for name in copied)


def test_image_keeps_to_the_lock() -> None:
    """The versions in the image are those of the lock."""
    (install,) = (rest for name, rest in instructions(0) if "pip install" in rest)
    assert "--constraint requirements.lock" in install


def test_image_reports_nothing_of_its_use() -> None:
    """OpenVINO cannot tell its makers who uses it: what would do so is not in the image."""
    (install,) = (rest for name, rest in instructions(0) if "pip install" in rest)
    assert "openvino-telemetry" in install.partition("pip uninstall")[2]


def test_image_user_is_a_number_other_than_root() -> None:
    """The server does not run as root, which Kubernetes can only tell of a number."""
    assert the("USER") == USER


def test_image_alone_refuses_plaintext() -> None:
    """Without TLS the server refuses to start, unless the operator allows that."""
    with pytest.raises(ValidationError, match="allow_plaintext_network"):
        settings({**ENVIRONMENT, "FACE_EMBEDDING_MODEL": "any"})


def test_image_ports() -> None:
    """The image listens on all interfaces of its container, and tells of these ports."""
    allowed = {"FACE_EMBEDDING_MODEL": "any", "FACE_EMBEDDING_ALLOW_PLAINTEXT_NETWORK": "true"}
    chosen = settings(ENVIRONMENT | allowed)
    assert chosen.address == "0.0.0.0:50051"
    ports = {port(chosen.address), port(chosen.metrics_address)}
    assert {int(word) for word in the("EXPOSE").split()} == ports


def test_image_health_check_asks_the_health_port() -> None:
    """The health check works with TLS and tokens too: it asks the port that needs neither."""
    command = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    assert command[:2] == ["face-embedding", "health"]
    assert command[command.index("--address") + 1] == ENVIRONMENT["FACE_EMBEDDING_HEALTH_ADDRESS"]


def test_image_store_is_a_volume() -> None:
    """All that the image writes to is one volume, so that its own files can be read-only."""
    assert json.loads(the("VOLUME")) == [ENVIRONMENT["FACE_EMBEDDING_STORE"]]


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_compose_service_is_confined(name: str) -> None:
    """Every container has a read-only root, no capability, and no way to get any."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service


def compose_settings() -> dict[str, Any]:
    environment: dict[str, Any] = COMPOSE["services"]["server"]["environment"]
    return {**ENVIRONMENT, **environment}


def test_compose_settings() -> None:
    """The server gets settings that exist, with TLS, and refuses to go without."""
    chosen = settings(compose_settings())
    assert chosen.tls_certificate
    assert chosen.tls_key
    assert chosen.allow_plaintext_network is False


def test_compose_is_open_to_this_machine_alone() -> None:
    """No port is published to other machines, as nobody is asked who they are."""
    published = [p for each in COMPOSE["services"].values() for p in each.get("ports", ())]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_compose_waits_for_the_server_to_stop() -> None:
    """The server may drain and give grace before it is killed."""
    chosen = settings(compose_settings())
    period = COMPOSE["services"]["server"]["stop_grace_period"]
    assert float(period.removesuffix("s")) > chosen.drain_s + chosen.grace_s


def test_compose_stand_in_is_of_the_served_model() -> None:
    """The stand-in that is made is of the model that is served, in the same volume."""
    made, served = (COMPOSE["services"][name] for name in ("stand-in", "server"))
    assert made["command"][-1] == served["environment"]["FACE_EMBEDDING_MODEL"]
    assert made["volumes"] == ["models:/models"]
    assert "models:/models:ro" in served["volumes"]


def test_compose_mounts_exist() -> None:
    """Every volume is defined, and every mounted file is in the repository."""
    for service in COMPOSE["services"].values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if not source.startswith("./"):
                assert source in COMPOSE["volumes"]
            elif source != "./certificates":  # The operator's.
                assert (DEPLOY / source).exists()


def test_compose_prometheus_scrapes_the_server() -> None:
    """Prometheus knows the server, by the name that the alerts go by, and reads the alerts."""
    config = read("prometheus/prometheus.yml")
    (job,) = config["scrape_configs"]
    metrics_port = port(settings(compose_settings()).metrics_address)
    assert job["job_name"] == "face-embedding"
    assert job["static_configs"] == [{"targets": [f"server:{metrics_port}"]}]
    assert config["rule_files"] == ["/etc/prometheus/alerts.yaml"]


def test_compose_grafana_finds_the_dashboard() -> None:
    """Grafana looks for dashboards where the dashboard is mounted."""
    (provider,) = read("grafana/provider.yaml")["providers"]
    folder = provider["options"]["path"]
    mounts = COMPOSE["services"]["grafana"]["volumes"]
    assert f"./grafana/face-embedding.json:{folder}/face-embedding.json:ro" in mounts
