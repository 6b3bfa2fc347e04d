"""The image, built for real, and a server of it with the compose file's settings."""

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import building
import pytest
import trustme
import yaml
from containers import SERVICES, Container, Start

from face_embedding_server.faces.images import Image as Face
from support import MOBILE, encode, person
from support.made_weights import OWN, own_toml
from support.own_model import NETWORK, write_manifest

KSERVE = yaml.safe_load((building.ROOT / "deploy" / "kserve" / "runtime.yaml").read_text("utf-8"))
TRITON = building.ROOT / "examples" / "triton" / "infer.py"
# What the packages take in the image; see docs/deployment.md.
MOST_MB = 430


@pytest.fixture
def photograph(tmp_path: Path) -> str:
    file = tmp_path / "person.png"
    file.write_bytes(encode(person()))
    return str(file)


def test_health_check_passes(server: Container) -> None:
    """The image's own health check, run in the container, finds the server SERVING."""
    command = server.image["Healthcheck"]["Test"]
    assert command[0] == "CMD"
    result = server.run(*command[1:])
    assert (result.returncode, result.stdout) == (0, "SERVING\n"), result.stderr


def test_photograph_is_embedded(
    server: Container, authority: trustme.CA, photograph: str, tmp_path: Path
) -> None:
    """A caller outside gets the embedding of the face in a photograph, over TLS."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    program = (sys.executable, "-m", "face_embedding_client", "embed", "--detect", "--json")
    result = server.run_beside(
        *program, "--address", "localhost:50051", "--ca", str(tmp_path / "ca.pem"), photograph
    )
    assert result.returncode == 0, result.stderr
    (answer,) = json.loads(result.stdout)
    assert answer["space"].startswith(f"{MOBILE}/")
    assert sum(value**2 for value in answer["values"]) == pytest.approx(1)


def test_server_is_confined(server: Container) -> None:
    """The server is the image's user, has no capability, and cannot get any."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    status = dict(re.findall(r"^(\w+):[ \t]*(.*)$", text, re.MULTILINE))
    assert set(status["Uid"].split() + status["Gid"].split()) == {"65532"}
    assert status["Groups"].split() == []
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert status["NoNewPrivs"] == "1"
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    assert re.search(r"^Max processes +512 +512 ", limits, re.MULTILINE)


@pytest.mark.parametrize("folder", ["/", "/opt/face-embedding", "/models", "/certificates"])
def test_server_can_write_nothing(server: Container, folder: str) -> None:
    """The image's files and what is mounted cannot be written, whoever would be allowed to."""
    assert os.statvfs(f"/proc/{server.pid}/root{folder}").f_flag & os.ST_RDONLY


def test_server_ends_when_told(start: Start) -> None:
    """SIGTERM ends the server, which is process 1 of its container, with 0."""
    with start(SERVICES["server"]) as container:
        container.kill(signal.SIGTERM)
        with building.step("stop"):
            status, output = container.wait()
    assert status == 0, output


def test_kserve_runtime_serves(start: Start, faces: list[Face], tmp_path: Path) -> None:
    """With the settings of KServe's runtime, and the store where KServe puts it, V2 is answered."""
    (container,) = KSERVE["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    service = {
        **SERVICES["server"],
        "environment": {**environment, "FACE_EMBEDDING_MODEL": MOBILE},
        "volumes": [f"models:{environment['FACE_EMBEDDING_STORE']}:ro"],
    }
    (tmp_path / "face.png").write_bytes(encode(faces[0]))
    (port,) = container["ports"]
    address = ("--address", f"127.0.0.1:{port['containerPort']}")
    with start(service) as server:
        result = server.run_beside(
            sys.executable, str(TRITON), MOBILE, str(tmp_path / "face.png"), *address
        )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["ready"]
    assert answer["cosine_to_face"] == pytest.approx(dict.fromkeys(answer["cosine_to_face"], 1))


def test_onnx_is_imported(files: Path, image: dict[str, Any], volumes: dict[str, Path]) -> None:
    """The image still has what reads ONNX: a network of a user's own gets into the store."""
    (volumes["models"] / "own.onnx").write_bytes(NETWORK)
    write_manifest(volumes["models"], own_toml(NETWORK))
    command = ["models", "import", OWN, "/models/own.onnx", "--manifest", "/models/own.toml"]
    service = {**SERVICES["stand-in"], "command": command}
    with Container(files, image, service, volumes) as job:
        status, output = job.wait()
    assert status == 0, output


def test_image_has_no_more_than_it_needs(files: Path) -> None:
    """The packages take what is documented, and none is there that installs others."""
    packages = files / "opt" / "face-embedding"
    size_mb = building.size_mb(packages)
    print(f"\npackages: {size_mb:.0f} MB")
    assert size_mb < MOST_MB
    assert not list(packages.glob("lib/*/site-packages/pip"))
