"""The files of `deploy/`, parsed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from face_embedding_server.settings import ENVIRONMENT_PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def read(name: str) -> Any:
    """Return a YAML file with one document."""
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def manifests() -> Iterator[dict[str, Any]]:
    """Return all Kubernetes manifests, of the kustomization and beside it."""
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text("utf-8"))


def manifest(kind: str, name: str = "face-embedding") -> dict[str, Any]:
    """Return the manifest of a kind and a name."""
    (found,) = (
        each
        for each in manifests()
        if each["kind"] == kind and each["metadata"].get("name", name) == name
    )
    return found


def settings(environment: dict[str, str]) -> Settings:
    """Return the server's settings, checked, that an environment gives."""
    return Settings.model_validate(
        {
            name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(ENVIRONMENT_PREFIX)
        }
    )


def port(address: str | None) -> int:
    """Return the port of HOST:PORT."""
    assert address
    return int(address.rpartition(":")[2])
