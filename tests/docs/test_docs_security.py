"""The threat model names tests that there are."""

import re

import pytest
from docs_pages import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_exists(file: str, name: str) -> None:
    """A test that is said to show a defence exists."""
    text = (ROOT / "tests" / file).read_text("utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_rows() -> None:
    """Every row that says how something holds names a test."""
    shown = [line for line in TEXT.splitlines() if line.startswith("| ") and "Shown by" not in line]
    threats = [line for line in shown if line.count(" | ") >= 2]
    assert threats
    assert [line for line in threats if "::" not in line] == []
