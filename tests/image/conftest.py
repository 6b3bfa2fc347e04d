"""The image and a server of it, made once."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import building
import pytest
import trustme
from containers import SERVICES, Container, Start


@pytest.fixture(scope="session")
def tag() -> str:
    """The name of the image, which is built."""
    building.make_base()
    building.build("face-embedding")
    return "face-embedding"


@pytest.fixture(scope="session")
def files(tag: str) -> Iterator[Path]:
    """The files of the image."""
    with building.unpacked(tag) as folder:
        yield folder


@pytest.fixture(scope="session")
def image(tag: str) -> dict[str, Any]:
    """The configuration of the image."""
    return building.described(tag)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def volumes(
    image: dict[str, Any], authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What the operator has: a certificate; and an empty volume, its owner the image's."""
    models, certificates = (tmp_path_factory.mktemp(name) for name in ("models", "certificates"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(certificates / "server.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(certificates / "server.pem", append=True)
    uid, gid = map(int, image["User"].split(":"))
    for path in (models, certificates, *certificates.iterdir()):
        os.chown(path, uid, gid)
    return {"models": models, "./certificates": certificates}


@pytest.fixture(scope="session")
def start(files: Path, image: dict[str, Any], volumes: dict[str, Path]) -> Start:
    """Starts a server as a service says, once the compose file's job has filled the volume."""
    with (
        building.step("stand-in"),
        Container(files, image, SERVICES["stand-in"], volumes) as job,
    ):
        status, output = job.wait()
    assert status == 0, output

    def started(service: Mapping[str, Any]) -> Container:
        container = Container(files, image, service, volumes)
        with building.step("start"):
            container.wait_for("serving ")
        return container

    return started


@pytest.fixture(scope="session")
def server(start: Start) -> Iterator[Container]:
    """A server of the image, as the compose file says."""
    with start(SERVICES["server"]) as container:
        yield container
