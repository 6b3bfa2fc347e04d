"""Renders the server's settings as a table in Markdown."""

from collections.abc import Iterator
from typing import Any, get_args

import annotated_types
from pydantic.fields import FieldInfo

from face_embedding_server.settings import ENVIRONMENT_PREFIX, Settings

# A default that is made where the server runs says nothing here; it is told instead.
_MADE = {"store": "in the user's data folder"}


def render() -> str:
    """Return a table with a row for each setting."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "| Setting | Variable | Default | Allowed | Meaning |"
    yield "|---|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        cells = (
            f"`{name}`{{ #{name} }}",
            f"`{ENVIRONMENT_PREFIX}{name.upper()}`",
            _default(name, field),
            _allowed(field),
            (field.description or "").replace("|", "\\|"),
        )
        yield f"| {' | '.join(cells)} |"


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return _MADE[name]
    return _value(field.default)


def _value(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    """Return the range of a number, or the texts of which a setting is one."""
    low = next((each.ge for each in field.metadata if isinstance(each, annotated_types.Ge)), None)
    high = next((each.le for each in field.metadata if isinstance(each, annotated_types.Le)), None)
    if low is not None and high is not None:
        return f"{low} to {high}"
    if field.annotation is bool:
        return "`true`, `false`"
    choices = [each for each in get_args(field.annotation) if isinstance(each, str)]
    return ", ".join(f"`{choice}`" for choice in choices)
