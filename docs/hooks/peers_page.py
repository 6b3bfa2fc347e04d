"""Renders the last comparison with other servers as a table in Markdown."""

import json
from collections.abc import Iterator
from pathlib import Path

# Columns for each precision: what is measured, as the results name it.
_FIGURES = {
    "16 callers, share": "share",
    "ms of processor time a face": "server_cpu_ms",
    "one caller, ms": "p50_ms",
}


def render(results: Path) -> str:
    """Return a table with a row for each server, the engine first."""
    return "\n".join(_lines(results))


def _lines(results: Path) -> Iterator[str]:
    rows = json.loads(results.read_text("utf-8"))
    found = {(row["name"], row["precision"]): row for row in rows}
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    heads = [f"{precision}: {title}" for precision in precisions for title in _FIGURES]
    yield f"| MobileFaceNet | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for name in dict.fromkeys(row["name"] for row in rows):
        of_name = [found[name, precision] for precision in precisions]
        cells = [_cell(row[figure]) for row in of_name for figure in _FIGURES.values()]
        yield f"| {name} | {' | '.join(cells)} |"


def _cell(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.2f}"
