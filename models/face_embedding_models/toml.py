"""TOML: which the standard library reads since Python 3.11, and as checked dataclasses."""

import itertools
import json
import sys
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from face_embedding_models.checking import MOST_PROBLEMS, reason
from face_embedding_models.texts import clipped, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["loads", "read"]

T = TypeVar("T")
# The parser takes seconds for a key of 20,000 parts, and four times as long for twice as many.
_MOST_DOTS = 500
_TOO_DEEP = "it is nested too deeply"
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def loads(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        ValueError: if it is none.
    """
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_MOST_DOTS} dots; break it into several lines")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except ValueError as error:
        # It can have a whole key in it, and ends with its place.
        message, at, place = str(error).rpartition(" (at ")
        raise ValueError(f"{clipped(message)}{at}{place}" if at else clipped(place)) from error


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
        # As JSON, in which strict types still let tables be dataclasses, and arrays tuples.
        table = json.dumps(loads(text), default=str)
    except RecursionError as error:
        raise ValueError(f"the {what} is no such table: {_TOO_DEEP}") from error
    except ValueError as error:
        raise ValueError(f"the {what} is no TOML: {error}") from error
    try:
        return TypeAdapter(kind).validate_json(table)
    except ValidationError as error:
        found = itertools.islice(error.errors(include_url=False), MOST_PROBLEMS)
        raise ValueError("; ".join(_explain(each, what) for each in found)) from error


def _explain(error: Any, what: str) -> str:
    # Some places are the validator's own and no keys.
    path = [part for part in error["loc"] if not str(part).startswith("function-")]
    if not path:
        return f"the {what}: {reason(error)}"
    *tables, key = path
    key = clipped(str(key))
    table = ".".join(clipped(part) for part in tables if isinstance(part, str))
    where = f"[{table}] of the {what}" if table else f"the {what}"
    if error["type"] in _MISSING:
        return f"{where}: the key '{key}' is missing"
    if error["type"] in _UNKNOWN:
        return f"{where}: the key '{key}' is unknown"
    return f"{where}: '{key}' cannot be {shown(error['input'])}: {reason(error)}"
