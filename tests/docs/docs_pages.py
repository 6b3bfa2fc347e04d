"""The pages of the documentation, and what is in them."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))

# What generates pages is no package, but modules beside each other.
sys.path.insert(0, str(DOCS / "hooks"))
import contract_file  # noqa: E402
import contract_page  # noqa: E402
import openapi_file  # noqa: E402
import pages  # noqa: E402
import settings_page  # noqa: E402

__all__ = ["contract_file", "contract_page", "openapi_file", "pages", "settings_page"]

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: the page that it is on, its title and its text."""

    page: str
    title: str
    text: str


def blocks(language: str) -> list[Block]:
    return [
        Block(page.name, title, text)
        for page in PAGES
        for found, title, text in _BLOCK.findall(page.read_text("utf-8"))
        if found == language
    ]
