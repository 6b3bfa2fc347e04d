"""The attributes of an operator: strings in the symbol file, typed values here."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from face_embedding_models.errors import UnsupportedOperatorError

T = TypeVar("T")
D = TypeVar("D")

# Set by training scripts or tuners; none changes what the network computes.
_WITHOUT_EFFECT = re.compile(
    r"__.*__|(.*_)?(lr|wd)_mult|ctx_group|force_mirroring|workspace|cudnn_\w+|momentum|"
    r"use_global_stats"
)
_MAX_CHARACTERS = 200
_MAX_INTEGER = 1 << 24
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Attributes:
    """The attributes of one node, each to be read once.

    What is left unread at the end is something the reader does not know, so it is refused.
    """

    def __init__(self, where: str, values: Mapping[str, str]) -> None:
        self._where = where
        self._unread = {k: v for k, v in values.items() if not _WITHOUT_EFFECT.fullmatch(k)}

    def flag(self, name: str, default: bool) -> bool:
        """Read a truth value."""
        return self._read(name, default, _parse_flag)

    def integer(self, name: str, default: int | None = None) -> int:
        """Read a positive whole number; without a default it is required."""
        return self._in_range(1, name, self._required(name, self._read(name, default, int)))

    def number(self, name: str, default: float | None = None) -> float:
        """Read a number; without a default it is required."""
        return self._required(name, self._read(name, default, float))

    def choice(self, name: str, default: str | None, allowed: tuple[str, ...]) -> str:
        """Read one of `allowed`."""
        value = self._required(name, self._read(name, default, str))
        if value not in allowed:
            raise UnsupportedOperatorError(
                f"{self._where}: {name}={value} is not supported, only {', '.join(allowed)}"
            )
        return value

    def pair(
        self, name: str, default: tuple[int, int] | None = None, *, minimum: int = 1
    ) -> tuple[int, int]:
        """Read two whole numbers, height and width; without a default they are required."""
        value = self._required(name, self._read(name, default, _parse_integers))
        match value:
            case (height, width):
                self._in_range(minimum, name, height)
                self._in_range(minimum, name, width)
                return height, width
            case () if default is not None:
                return default
        raise UnsupportedOperatorError(
            f"{self._where}: {name}={value} is not supported, only two dimensions are"
        )

    def ignore(self, *names: str) -> None:
        """Drop attributes that have no effect for this operator."""
        for name in names:
            self._unread.pop(name, None)

    def expect_all_read(self) -> None:
        """Refuse the attributes that nothing has read."""
        if self._unread:
            name, value = next(iter(self._unread.items()))
            raise UnsupportedOperatorError(
                f"{self._where}: unknown attribute {name:.60}={value:.60}"
            )

    def _read(self, name: str, default: D, parse: Callable[[str], T]) -> D | T:
        text = self._unread.pop(name, None)
        if text is None:
            return default
        try:
            # What is deeply nested, which Python's own reader is not written for, is long too.
            if len(text) > _MAX_CHARACTERS:
                raise ValueError(f"it has {len(text)} characters")
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise UnsupportedOperatorError(
                f"{self._where}: {name}={text:.60} cannot be understood"
            ) from error

    def _in_range(self, minimum: int, name: str, value: int) -> int:
        if not minimum <= value <= _MAX_INTEGER:
            bound = f"least {minimum}" if value < minimum else f"most {_MAX_INTEGER}"
            raise UnsupportedOperatorError(
                f"{self._where}: {name} is {value}, it has to be at {bound}"
            )
        return value

    def _required(self, name: str, value: T | None) -> T:
        if value is None:
            raise UnsupportedOperatorError(f"{self._where}: attribute {name} is missing")
        return value


def _parse_flag(text: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _parse_integers(text: str) -> tuple[int, ...]:
    """Read `(1, 2)`, `[1, 2]` or, as Python 2 wrote it, `(1L, 2L)`."""
    value = ast.literal_eval(re.sub(r"(?<=\d)L", "", text))
    if not all(type(part) is int for part in value):
        raise ValueError(text)
    return tuple(value)
