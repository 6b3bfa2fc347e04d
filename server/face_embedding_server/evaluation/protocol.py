"""Reading the pairs of Labeled Faces in the Wild as they are distributed, such as `pairs.txt`.

The first line has the number of folds and the number of pairs of each kind in a fold, or the latter
alone if there is one fold. Then each fold has its pairs of one person, a line `name i j` each, and
after them those of two, `name1 i name2 j`. Image i of a person is the file `name/name_000i`.

Source: G. B. Huang and others, Labeled Faces in the Wild: a database for studying face recognition
in unconstrained environments, technical report 07-49, University of Massachusetts, Amherst, 2007;
the form of the file is in http://vis-www.cs.umass.edu/lfw/README.txt, section 3c.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from face_embedding_models import regular_files
from face_embedding_server.errors import OperatorError

_HEADER = "the numbers of folds and of pairs of each kind in a fold, such as '10 300'"
_FORMS = {True: "'name i j', two images of one person", False: "'name1 i name2 j', of two people"}
# Without a name that is a path, and without numbers that are longer than any file.
_NOT_IN_NAMES = re.compile(r"[/\\\x00-\x1f]")
_NUMBER = re.compile(r"[0-9]{1,9}")
_BLANKS = " \t\r"


class ProtocolError(OperatorError):
    """The pairs cannot be read; the message says in which line, and what was expected."""


@dataclass(frozen=True)
class Pair:
    """A line of the file.

    Args:
        line: its number, counted from 1.
        fold: the number of its fold, counted from 0.
        first: one image, `name/name_0001`, without the suffix of the file.
        second: the other.
        same: whether both are of one person.
    """

    line: int
    fold: int
    first: str
    second: str
    same: bool


def read_protocol(path: Path) -> list[Pair]:
    """Read a file of pairs, in its order.

    A byte order mark, Windows' ends of lines and blank lines at the end are tolerated.

    Returns:
        Pairs, as many of each kind in each fold.

    Raises:
        ProtocolError: if the file cannot be read, or is not of this form.
    """
    try:
        text = regular_files.read_text(path, regular_files.TABLE_BYTES)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ProtocolError(f"{path}, line {line}: expected text in UTF-8") from error
    except OSError as error:
        raise ProtocolError(f"{path} cannot be read: {error.strerror}") from error
    # Not by splitlines, which would also end lines at characters that names may have.
    lines = text.rstrip(f"{_BLANKS}\n").split("\n")
    folds, size = _header(path, lines[0])
    pairs: list[Pair] = []
    for number, (fold, same) in enumerate(_sections(folds, size), start=2):
        if number > len(lines):
            raise ProtocolError(
                f"{path}, line {number}: expected {_FORMS[same]}, but the file ends "
                f"after {len(pairs):,} of {2 * folds * size:,} pairs"
            )
        where = f"{path}, line {number}"
        first, second = _images(where, lines[number - 1], same)
        pairs.append(Pair(number, fold, first, second, same))
    if len(lines) > len(pairs) + 1:
        raise ProtocolError(
            f"{path}, line {len(pairs) + 2}: expected the end of the file "
            f"after {len(pairs):,} pairs, as the first line says"
        )
    return pairs


def _header(path: Path, line: str) -> tuple[int, int]:
    """Return the numbers of folds and of pairs of each kind in one."""
    fields = _fields(line)
    if not fields:
        raise ProtocolError(f"{path}, line 1: expected {_HEADER}, but it is empty")
    if len(fields) > 2 or not all(_NUMBER.fullmatch(field) and int(field) for field in fields):
        raise ProtocolError(f"{path}, line 1: expected {_HEADER}, not {_shown(line)}")
    folds, size = [1, *map(int, fields)][-2:]
    return folds, size


def _sections(folds: int, size: int) -> Iterator[tuple[int, bool]]:
    """Tell for each line the number of its fold, and whether its pair is of one person."""
    for fold in range(folds):
        for same in (True, False):
            for _ in range(size):
                yield fold, same


def _images(where: str, line: str, same: bool) -> tuple[str, str]:
    fields = _fields(line)
    expected = 3 if same else 4
    if len(fields) != expected:
        raise ProtocolError(
            f"{where}: expected {expected} fields, {_FORMS[same]}, "
            f"not {len(fields)}: {_shown(line)}"
        )
    name, first, *other, second = fields
    if other == [name]:
        raise ProtocolError(f"{where}: expected {_FORMS[same]}, not '{name}' twice")
    other_name = other[0] if other else name
    return _image(where, name, first), _image(where, other_name, second)


def _image(where: str, name: str, number: str) -> str:
    if _NOT_IN_NAMES.search(name) or name in (".", ".."):
        raise ProtocolError(f"{where}: expected the name of a folder, not {_shown(name)}")
    if not _NUMBER.fullmatch(number):
        raise ProtocolError(f"{where}: expected the number of an image, not {_shown(number)}")
    return f"{name}/{name}_{int(number):04}"


def _fields(line: str) -> list[str]:
    return re.split(r"[ \t]+", stripped) if (stripped := line.strip(_BLANKS)) else []


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:99]}…")
