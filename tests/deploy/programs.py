"""Helm and kubectl, by which charts and kustomizations are rendered for real."""

import subprocess
from typing import Any

import pytest
import yaml
from deployed import DEPLOY

FOLDER = DEPLOY.parent / "build" / "manifests"
CHART = DEPLOY / "helm" / "face-embedding"
NAME = "face-embedding"


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Helm."""
    return _run("helm", *arguments)


def rendered(*arguments: str) -> list[dict[str, Any]]:
    """Return what the chart makes of values that `arguments` give."""
    result = helm("template", NAME, str(CHART), "--namespace", NAME, *arguments)
    assert result.returncode == 0, result.stderr
    return [each for each in yaml.safe_load_all(result.stdout) if each]


def kustomized() -> list[dict[str, Any]]:
    """Return what the kustomization makes."""
    result = _run("kubectl", "kustomize", str(DEPLOY / "kubernetes"))
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def the(kind: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only document of a kind."""
    (found,) = (each for each in documents if each["kind"] == kind)
    return found


def _run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = FOLDER / name / name
    if not program.exists():
        pytest.fail(f"there is no {program}: run 'make build/manifests/.ready'")
    return subprocess.run(
        [str(program), *arguments], check=False, capture_output=True, text=True, timeout=60
    )
