"""The settings' page has every setting, and files that it shows are taken."""

from pathlib import Path

import pytest
from docs_pages import blocks, settings_page

from face_embedding_server import settings
from face_embedding_server.security.access import Access
from face_embedding_server.settings import Settings


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting(name: str) -> None:
    """Each setting has a row with its variable, its default and its meaning."""
    row = next(row for row in settings_page.render().splitlines() if f"{{ #{name} }}" in row)
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    field = Settings.model_fields[name]
    assert cells[1] == f"`FACE_EMBEDDING_{name.upper()}`"
    assert cells[4] == field.description
    if field.is_required():
        assert cells[2] == "required"
    elif field.default_factory is None and field.default is not None:
        assert cells[2].strip("`").lower() == str(field.default).lower()


def test_settings_files(tmp_path: Path) -> None:
    """The settings files in the documentation are taken by the server."""
    shown = [block for block in blocks("toml") if block.title == "settings.toml"]
    for number, block in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        file.write_text(block.text)
        assert settings.load({"config": file}, {}).model
    assert shown


def test_access_files(tmp_path: Path) -> None:
    """The access files in the documentation are taken by the server."""
    shown = [block for block in blocks("toml") if block.title == "access.toml"]
    for number, block in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        file.write_text(block.text)
        Access(file, takes_tokens=True, takes_certificates=True)
    assert shown


def test_titles() -> None:
    """Every TOML file in the documentation is of a kind that is tested here."""
    assert {block.title for block in blocks("toml")} == {
        "settings.toml",
        "access.toml",
        "mine.toml",
    }
