"""Measures every promise of reliability, and prints each with its bound as a table.

`python tests/reliability/report.py --store STORE` does harm of all kinds to real servers, in
less than ten minutes, and fails if a promise is broken.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import promises
import scenarios
from promises import BROKEN, HEAD, Row


def main() -> int:
    """Measure, print, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="where both stand-ins are")
    parser.add_argument("--only", nargs="*", choices=scenarios.ALL, help="these subjects alone")
    parser.add_argument("--save", type=Path, help="where to write the rows, as JSON")
    options = parser.parse_args()
    rows: list[Row] = []
    _print(HEAD)
    for subject in options.only or scenarios.ALL:
        for scenario in scenarios.ALL[subject]:
            for row in promises.measure(subject, scenario, options.store):
                rows.append(row)
                _print(row.write())
    if options.save:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False)
        options.save.write_text(f"{text}\n", "utf-8")
    broken = [row for row in rows if row.verdict == BROKEN]
    for row in broken:
        print(f"broken: {row.subject}: {row.promise}: {row.measured}", file=sys.stderr)  # noqa: T201
    return 1 if broken else 0


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # The table is what it is for.


if __name__ == "__main__":
    sys.exit(main())
