"""Write the bill of materials: every package of requirements.lock, and MXNet, as CycloneDX 1.6.

`python .ci/sbom.py OUTPUT`. A package stands there once a version, with the condition under
which it is installed. Source: ECMA-424, and the specification of package URLs.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[\w.!+-]+)(?: ; (?P<marker>.+))?$")
# It is not in the lock; see the Makefile.
_MXNET = re.compile(r'^ *"(mxnet==[^;"]+); (.*)",$', re.MULTILINE)


def requirements() -> Iterator[str]:
    """Yield the packages with their versions and conditions, as a lock writes them."""
    yield from (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    found = _MXNET.search((ROOT / "pyproject.toml").read_text("utf-8"))
    if not found:
        raise ValueError("pyproject.toml does not name MXNet")
    yield f"{found[1]} ; {found[2]}"


def bill() -> Bom:
    """Return the bill of materials.

    Raises:
        ValueError: if a line of the lock cannot be understood.
    """
    bom = Bom()
    name = "face-embedding"
    bom.metadata.component = Component(name=name, type=ComponentType.APPLICATION, bom_ref=name)
    for line in requirements():
        found = _REQUIREMENT.match(line)
        if not found:
            raise ValueError(f"requirements.lock: '{line}' is not NAME==VERSION")
        package = PackageURL("pypi", None, found["name"], found["version"])
        marker = found["marker"]
        component = Component(
            name=found["name"],
            version=found["version"],
            type=ComponentType.LIBRARY,
            purl=package,
            bom_ref=package.to_string(),
            properties=[Property(name="python:marker", value=marker)] if marker else [],
        )
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


if __name__ == "__main__":
    (output,) = map(Path, sys.argv[1:])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(JsonV1Dot6(bill()).output_as_string(indent=2) + "\n", "utf-8")
