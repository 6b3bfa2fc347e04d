"""Renders the last benchmark as a table in Markdown."""

import json
from collections.abc import Iterator
from pathlib import Path

# Columns: what is measured, as the results name it.
_CASES = {
    "One caller": ("unary", 1),
    "16 callers": ("unary", 16),
    "One stream": ("stream", 1),
    "Two callers of batches": ("batch", 2),
}
_NAMES = {"resnet34": "ResNet34", "mobilefacenet": "MobileFaceNet"}


def render(results: Path) -> str:
    """Return a table with a row for each model and precision."""
    return "\n".join(_lines(results))


def _lines(results: Path) -> Iterator[str]:
    rows = json.loads(results.read_text("utf-8"))
    found = {
        (row["model"], row["precision"], row["mode"], row["callers"]): row["ratio"] for row in rows
    }
    yield f"| Model, precision | {' | '.join(_CASES)} |"
    yield f"|---|{'---|' * len(_CASES)}"
    for model, precision in dict.fromkeys((row["model"], row["precision"]) for row in rows):
        cells = [f"{found[(model, precision, *case)]:.2f}" for case in _CASES.values()]
        yield f"| {_NAMES[model]}, {precision} | {' | '.join(cells)} |"
