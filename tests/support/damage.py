"""Files that are nearly what they should be, for property tests."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# What lengths, counts and offsets of formats are made of, where they mean the worst.
_EXTREMES = [
    b"\x00",
    b"\xff",
    *(bytes(n) for n in (2, 4, 8)),
    *(b"\xff" * n for n in (2, 4, 8)),
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
]
_MOST_CHANGES = 6
_MOST_BYTES = 64
# In place of a value, until it is JSON.
_MARK = "in place of a value"
# In place of a value, as JSON has them, and as Python reads what JSON has not.
_ODD = [
    "null", "true", "-1", "0", "1e400", "NaN", "-Infinity", "9" * 400, "9" * 5_000,
    '""', '"\\ud800"', '"../.."', '"' + "x" * 100_000 + '"', "[]", "{}", "[{}]", "[null]",
    *("[" * depth + "]" * depth for depth in (50, 500, 50_000)),
    '{"a":' * 500 + "0" + "}" * 500,
]  # fmt: skip
_ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]
T = TypeVar("T")
E = TypeVar("E", bound=Exception)
Change: TypeAlias = Callable[[bytes, int, bytes], bytes]


def _overwrite(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _insert(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at:]


def _delete(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + data[at + len(new) :]


def _cut(data: bytes, at: int, _: bytes) -> bytes:
    return data[:at]


def _repeat(data: bytes, at: int, new: bytes) -> bytes:
    part = data[at : at + len(new)]
    return data[:at] + part * 4 + data[at:]


_CHANGES: list[Change] = [_overwrite, _overwrite, _insert, _delete, _cut, _repeat]


def attempt(error: type[E], function: Callable[[], T]) -> T | E:
    """Return what a function returns, or what it raises where that is the error it may raise."""
    try:
        return function()
    except error as raised:
        return raised


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Return one of the files after some changes, near the beginning more often than elsewhere."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, _MOST_CHANGES))):
        change = draw(st.sampled_from(_CHANGES))
        end = len(data) if draw(st.booleans()) else min(len(data), _MOST_BYTES)
        new = draw(st.sampled_from(_EXTREMES) | st.binary(min_size=1, max_size=_MOST_BYTES))
        data = change(data, draw(st.integers(0, end)), new)
    return data


def json_values(leaves: SearchStrategy[object] | None = None) -> SearchStrategy[object]:
    """Return values that JSON and TOML have, lists and tables of them too."""
    simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    return st.recursive(
        leaves or simple,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
        ),
        max_leaves=12,
    )


@st.composite
def altered(draw: st.DrawFn, document: Mapping[str, Any]) -> bytes:
    """Return a JSON document with a value that is another, missing, twice, or beside an unknown."""
    document = copy.deepcopy(dict(document))
    tables = list(_tables(document))
    table = draw(st.sampled_from(tables))
    odd = st.sampled_from(_ODD) | json_values().map(json.dumps)
    key = draw(st.sampled_from([*table, "later"]))
    if draw(st.booleans()):
        table.pop(key, None)
    else:
        table[key] = _MARK
    text = json.dumps(document).replace(f'"{_MARK}"', draw(odd))
    if draw(st.integers(0, 4)) == 0:
        text = text.replace(f'"{key}": ', f'"{key}": {draw(odd)}, "{key}": ', 1)
    return text.encode(draw(st.sampled_from(_ENCODINGS)), "replace")


def _tables(value: object) -> Iterator[dict[str, Any]]:
    """Yield a value and what is in it, as far as they are tables."""
    if isinstance(value, dict):
        if value:
            yield value
        for each in value.values():
            yield from _tables(each)
    elif isinstance(value, list):
        for each in value:
            yield from _tables(each)
