"""What others wrote, as errors show it."""

import reprlib
from collections.abc import Sequence

_SHOWN = 60


def clipped(given: str | Sequence[int]) -> str:
    """Return a text, or a list of whole numbers, cut to what a message has room for.

    Nothing is made of more than is shown, however long it is.
    """
    # So many numbers are more characters than that.
    text = given[: _SHOWN + 1] if isinstance(given, str) else str(list(given[:_SHOWN]))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def shown(given: object) -> str:
    """Return a value of any type as Python writes it, texts in quotes, and `clipped` like them."""
    if isinstance(given, str):
        return repr(clipped(given))
    try:
        return clipped(reprlib.repr(given))
    except ValueError:
        return "a number of over 4,300 digits"  # Which Python does not write.
