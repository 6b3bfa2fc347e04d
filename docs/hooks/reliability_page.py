"""Renders what was measured last of reliability as tables in Markdown."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path


def render(results: Path) -> str:
    """Return a heading and a table for each subject."""
    return "\n".join(_lines(results))


def _lines(results: Path) -> Iterator[str]:
    rows = json.loads(results.read_text("utf-8"))
    for subject, of_subject in groupby(rows, lambda row: row["subject"]):
        yield from (f"### {subject}", "", "| Promise | Bound | Measured | |", "|---|---|---|---|")
        for row in of_subject:
            verdict = row["verdict"] if row["verdict"] == "kept" else f"**{row['verdict']}**"
            yield f"| {row['promise']} | {row['bound']} | {row['measured']} | {verdict} |"
        yield ""
