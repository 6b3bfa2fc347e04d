"""The page on reliability shows every promise that the code has, with its bound."""

import json
import sys

from docs_pages import ROOT, pages

sys.path.insert(0, str(ROOT / "tests" / "reliability"))
import scenarios


def test_results() -> None:
    """What was saved has all promises, in their order and with their bounds."""
    saved = json.loads(pages.RELIABILITY_RESULTS.read_text("utf-8"))
    assert [(row["subject"], row["promise"], row["bound"]) for row in saved] == [
        (subject, promise.text, promise.bound_text)
        for subject, made in scenarios.ALL.items()
        for scenario in made
        for promise in scenario.promises
    ]


def test_subjects() -> None:
    """The page says of each subject what its figures mean."""
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    for subject in scenarios.ALL:
        assert f"\n| {subject} | " in text
