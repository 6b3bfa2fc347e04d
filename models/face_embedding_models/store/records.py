"""The records of the store: JSON, read by this version and by earlier and later ones.

A key that an earlier version did not write has a default. A key that this version does not know is
left aside. What an earlier version would misread comes with a higher `store_format`, which it
refuses; a record without one is of the first.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from face_embedding_models import regular_files
from face_embedding_models.checking import problems
from face_embedding_models.errors import StoreError
from face_embedding_models.texts import shown

T = TypeVar("T")
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

FORMAT = 1
REMEDY = "import or convert the model again"


@dataclass(frozen=True)
class _Format:
    store_format: Annotated[int, Field(ge=1)] = 1


def to_text(record: Mapping[str, Any]) -> str:
    """Return a record as it is written."""
    return json.dumps({"store_format": FORMAT, **record}, indent=2) + "\n"


def read(path: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """Return what a record says.

    Args:
        path: its file.
        remedy: what mends it, for the error.

    Raises:
        StoreError: if it is missing or damaged, or has the format of a later version.
    """
    try:
        record = TypeAdapter(dict[str, Any]).validate_json(regular_files.read(path))
    except OSError as error:
        raise StoreError(f"{path} is missing or damaged: {error}; {remedy}") from error
    except ValidationError as error:
        raise StoreError(f"{path} is damaged: {problems(error)}; {remedy}") from error
    if (found := checked(_Format, record, path, remedy).store_format) > FORMAT:
        raise StoreError(
            f"{path} has the store format {shown(found)}, and this version reads up to {FORMAT}: a "
            f"later version of face-embedding wrote it; use that version, or import the model "
            f"again with this one"
        )
    return record


def checked(kind: type[T], record: Mapping[str, Any], path: Path, remedy: str = REMEDY) -> T:
    """Return a record as a dataclass with those keys of it that the dataclass has.

    Raises:
        StoreError: if a key is missing or wrong.
    """
    try:
        # As JSON, in which strict types still let tables be dataclasses.
        return TypeAdapter(kind).validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        raise StoreError(f"{path} is damaged: {problems(error)}; {remedy}") from error
