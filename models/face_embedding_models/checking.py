"""What the checks of files' contents found, in words."""

import itertools
from typing import Any

from pydantic import ValidationError

from face_embedding_models.texts import clipped

# Shown of what is wrong with a file; where it is damaged the others are much the same.
MOST_PROBLEMS = 5


def problems(error: ValidationError) -> str:
    """Return what is wrong, each with its place, as far as a message has room for it."""
    return "; ".join(
        f"{'.'.join(map(clipped, map(str, each['loc'])))}: {reason(each)}".lstrip(": ")
        for each in itertools.islice(error.errors(include_url=False), MOST_PROBLEMS)
    )


def reason(error: Any) -> str:
    """Return what is wrong in one place."""
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else str(error["msg"])
