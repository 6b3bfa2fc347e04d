"""The table of what more processors give is what the server makes of it."""

import re

import pytest
from docs_pages import DOCS

from face_embedding_server.processes import sizing

CPUS = (8, 32, 96)
ROWS = re.findall(
    r"^\| \w+ \| [\w, ]+ \| (\d+) \| (.*) \|$",
    (DOCS / "performance.md").read_text("utf-8"),
    re.MULTILINE,
)


def test_found() -> None:
    """The table is there."""
    assert len(ROWS) == 5


@pytest.mark.parametrize(("rate", "cells"), ROWS)
def test_row(rate: str, cells: str) -> None:
    """Faces a second are the processors' together, and processes as many as `auto` takes."""
    expected = [f"{int(rate) * cpus:,} by {sizing.worth(int(rate), cpus)}" for cpus in CPUS]
    assert cells.split(" | ") == expected
