"""The bill of materials: what `make sbom` writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("sbom") / "build" / "sbom.json"
    subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", output], check=True)
    return output.read_text("utf-8")


@pytest.mark.slow
def test_valid(bill: str) -> None:
    """It is CycloneDX 1.6, by the schema of that format."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None


@pytest.mark.slow
def test_complete(bill: str) -> None:
    """Every package of the lock is in it at its version, and MXNet, which is not in the lock."""
    components: list[dict[str, Any]] = json.loads(bill)["components"]
    found = {f"{each['name']}=={each['version']}" for each in components}
    lock = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    assert found == {line.partition(" ")[0] for line in lock} | {"mxnet==1.9.1"}
    assert {each["purl"] for each in components} >= {"pkg:pypi/mxnet@1.9.1"}
