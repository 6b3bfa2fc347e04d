"""The file of embeddings that `embed --output` writes and `compare` reads: .npz or .parquet."""

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from face_embedding_client._types import Embedding, ModelInfo
from face_embedding_client.cli import archive, output
from face_embedding_client.cli.kept import Answers
from face_embedding_client.cli.usage import UsageError

# What became of each file, in order; called as often as it is needed, so that nothing is kept.
Outcomes: TypeAlias = Callable[[], Iterable[tuple[Path, Answers]]]

_ARCHIVE, _COLUMNS = ".npz", ".parquet"


def check_output(path: Path) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Raises:
        UsageError: if it is none of these, cannot be written, or what it needs is not installed.
    """
    output.check_output(path, _ARCHIVE, _COLUMNS)
    _format(path)


def write(path: Path, outcomes: Outcomes, info: ModelInfo, *, several: bool) -> None:
    """Write what became of files.

    Args:
        path: the file.
        outcomes: what became of them.
        info: the model that embedded all of them.
        several: each may have any number of faces.
    """
    if path.suffix == _COLUMNS:
        _format(path).write(path, outcomes(), info)
        return
    archive.write(
        path,
        lambda: (
            named
            for file, answers in outcomes()
            for named in archive.named(file, answers, several=several)
        ),
        info,
    )


def names_embedding(text: str) -> bool:
    """Return whether an argument names an embedding of such a file, `FILE#NAME` or the file."""
    return any(text.endswith(suffix) or f"{suffix}#" in text for suffix in (_ARCHIVE, _COLUMNS))


def read(text: str) -> Embedding:
    """Return the embedding that `FILE#NAME` names; of a file with one, the file does.

    Raises:
        OSError: if the file cannot be read.
        UsageError: if it is no such file, or has no embedding of that name alone.
    """
    path, name = _parts(text)
    of_format = _format(path)
    try:
        found = of_format.rows_of(path, name)
        # The same file may have been named twice.
        rows = found if name or len(found) == 1 else []
        named: list[Embedding] = [of_format.read(path, row) for row in rows]
        if not named or any((each.values != named[0].values).any() for each in named):
            wanted = f"named '{name}'" if name else f"in it: say which as FILE{path.suffix}#NAME"
            raise UsageError(f"{path} has {len(found)} embeddings {wanted}")
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(
            f"{path} is no file of embeddings with their space, as 'embed --output' writes it"
        ) from error
    return named[0]


def _parts(text: str) -> tuple[Path, str]:
    for suffix in (_ARCHIVE, _COLUMNS):
        file, mark, name = text.partition(f"{suffix}#")
        if mark:
            return Path(f"{file}{suffix}"), name
    return Path(text), ""


def _format(path: Path) -> ModuleType:
    """Return the module that writes and reads a file."""
    if path.suffix != _COLUMNS:
        return archive
    try:
        from face_embedding_client.cli import columns
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{_COLUMNS} files need {error.name}: pip install 'face-embedding[parquet]'"
        ) from error
    return columns
