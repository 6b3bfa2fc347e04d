"""The site is built from the documentation, and what leads nowhere is noticed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import DOCS, ROOT

# What a browser fetches on its own; a link is followed by people.
_FETCHED = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?([^\" >]+)|<link([^>]*)>")


def build(config: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    return subprocess.run(
        [*command, "--site-dir", str(site)], check=False, capture_output=True, text=True, cwd=ROOT
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the documentation, whose hooks still read this repository."""
    shutil.copytree(DOCS, tmp_path / "docs")
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    hook = str(DOCS / "hooks" / "pages.py")
    (tmp_path / "mkdocs.yml").write_text(config.replace("docs/hooks/pages.py", hook))
    return tmp_path


def test_pages_fetch_nothing(tmp_path: Path) -> None:
    """The site is built without a warning, and its pages fetch nothing from elsewhere."""
    result = build(ROOT / "mkdocs.yml", tmp_path)
    assert result.returncode == 0, result.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.md")))
    for page in pages:
        for source, link in _FETCHED.findall(page.read_text("utf-8")):
            assert "//" not in source + link, page


@pytest.mark.parametrize(
    ("page", "text", "complaint"),
    [
        ("faq.md", "[x](nowhere.md)", "nowhere.md"),
        ("faq.md", "[x](contract.md#Nothing)", "#Nothing"),
        ("unlisted.md", "# Unlisted", "unlisted.md"),
    ],
    ids=["page", "anchor", "not in the navigation"],
)
def test_dead_end_fails_the_build(copy: Path, page: str, text: str, complaint: str) -> None:
    """A link to a page or an anchor that is not there, and a page without a place, fail."""
    with (copy / "docs" / page).open("a") as file:
        file.write(f"\n{text}\n")
    result = build(copy / "mkdocs.yml", copy / "site")
    assert result.returncode == 1
    assert complaint in result.stderr


def test_copy_is_good(copy: Path) -> None:
    """The copy itself has no fault, so that a failure is that of what was added."""
    result = build(copy / "mkdocs.yml", copy / "site")
    assert result.returncode == 0, result.stderr
