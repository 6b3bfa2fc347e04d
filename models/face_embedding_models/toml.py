"""TOML: which the standard library reads since Python 3.11, and as checked dataclasses."""

import json
import sys
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads

__all__ = ["loads", "read"]

T = TypeVar("T")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def read(kind: type[T], text: str, what: str) -> T:
    """Read a file as a dataclass of pydantic's.

    Args:
        kind: the dataclass.
        text: the file's content.
        what: what the file is, in a word.

    Raises:
        ValueError: if it is no TOML, or a key is missing, unknown or wrong; each is named with the
            table that it is in.
    """
    try:
        table = loads(text)
    except ValueError as error:
        raise ValueError(f"the {what} is no TOML: {error}") from error
    try:
        # As JSON, in which strict types still let tables be dataclasses, and arrays tuples.
        return TypeAdapter(kind).validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise ValueError("; ".join(_explain(each, what) for each in error.errors())) from error


def _explain(error: Any, what: str) -> str:
    # Some places are the validator's own and no keys.
    path = [part for part in error["loc"] if not str(part).startswith("function-")]
    if not path:
        return f"the {what}: {_reason(error)}"
    *tables, key = path
    table = ".".join(part for part in tables if isinstance(part, str))
    where = f"[{table}] of the {what}" if table else f"the {what}"
    if error["type"] in _MISSING:
        return f"{where}: the key '{key}' is missing"
    if error["type"] in _UNKNOWN:
        return f"{where}: the key '{key}' is unknown"
    return f"{where}: '{key}' cannot be {error['input']!r:.100}: {_reason(error)}"


def _reason(error: Any) -> str:
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else str(error["msg"])
