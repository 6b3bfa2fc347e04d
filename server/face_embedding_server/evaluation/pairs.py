"""Labelled pairs of images: in a folder with a table of pairs, or as LFW's are distributed."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from face_embedding_models import regular_files
from face_embedding_server.errors import OperatorError
from face_embedding_server.evaluation import lfw, protocol
from face_embedding_server.faces import headers
from face_embedding_server.faces.images import IMAGE_SUFFIXES

_SUFFIXES = ("", *IMAGE_SUFFIXES)
_SEED = 0
_COLUMNS = ("first", "second", "same")
# What spreadsheets write where a comma is part of a number.
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_LABELS = {"1": True, "true": True, "same": True, "0": False, "false": False, "different": False}


class PairsError(OperatorError):
    """The pairs cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Pairs:
    """Images and which of them are of one person.

    Args:
        names: of the images.
        images: the images' files, as bytes.
        first: `[pairs]`, the index of one image of each pair.
        second: `[pairs]`, the index of the other.
        same: `[pairs]`, whether both are of one person.
        folds: `[pairs]`, the number of the fold that each is in; None where the pairs say nothing
            of folds.
        own: `[pairs]`, whether each shows something of its own: not one of a file and a copy of it
            does, or of the same two files as another pair. None where all do.
    """

    names: list[str]
    images: list[bytes]
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    same: NDArray[np.bool_]
    folds: NDArray[np.intp] | None = None
    own: NDArray[np.bool_] | None = None


def read_lfw(path: Path) -> Pairs:
    """Read a file of pairs as InsightFace distributes them, such as `lfw.bin`.

    Raises:
        PairsError: if it cannot be read.
    """
    try:
        labelled = lfw.read_pairs_bin(regular_files.read(path, regular_files.DATA_BYTES))
    except (OSError, lfw.LfwFileError) as error:
        raise PairsError(f"{path}: {error}") from error
    indices = np.arange(len(labelled.images))
    names = [f"{path.name}[{index}]" for index in indices]
    return Pairs(names, labelled.images, indices[::2], indices[1::2], labelled.same)


def read_lfw_folder(folder: Path, pairs: Path) -> Pairs:
    """Read Labeled Faces in the Wild as it is distributed, with its folds.

    Args:
        folder: has a folder for each person.
        pairs: the file of pairs, such as `pairs.txt`; see `protocol`.

    Raises:
        ProtocolError: if the file of pairs cannot be read.
        PairsError: if an image is missing; the line is named.
    """
    rows = protocol.read_protocol(pairs)
    if not folder.is_dir():
        raise PairsError(f"{folder} is no folder with images")
    images: dict[str, bytes] = {}
    for row in rows:
        for name in (row.first, row.second):
            if name not in images:
                where = f"{pairs}, line {row.line}"
                images[name] = _read_image(folder, name, where, IMAGE_SUFFIXES)
    index = {name: number for number, name in enumerate(images)}
    return Pairs(
        list(images),
        list(images.values()),
        np.array([index[row.first] for row in rows], np.intp),
        np.array([index[row.second] for row in rows], np.intp),
        np.array([row.same for row in rows]),
        np.array([row.fold for row in rows], np.intp),
    )


def read_table(table: Path, folder: Path) -> Pairs:
    """Read a CSV file with the columns first, second, same, and the images that it names.

    The pairs come in a fixed random order: tables tend to be sorted, and then the folds of an
    evaluation would be of one kind each.

    Args:
        table: the CSV file; `same` is 1, true or same, or 0, false or different.
        folder: where the images are; their names may lack the suffix.

    Raises:
        PairsError: if something is missing or not understood; the line is named.
    """
    try:
        text = regular_files.read_text(table, regular_files.TABLE_BYTES)
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = [(reader.line_num, row) for row in reader]
        columns = reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise PairsError(f"the pairs {table} cannot be read: {error}") from error
    if len(columns) == 1 and (other := re.search(r"[;\t|]", columns[0])):
        raise PairsError(
            f"{table}: its columns are separated by {_SEPARATORS[other[0]]}, and have to be by "
            f"commas; save it as CSV with commas"
        )
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise PairsError(
            f"{table}: the column '{missing[0]}' is missing; needed are first,second,same"
        )
    if not rows:
        raise PairsError(f"{table} holds no pair")
    images: dict[str, bytes] = {}
    same = []
    for number, row in rows:
        where = f"{table}, line {number}"
        label = _LABELS.get((row["same"] or "").strip().lower())
        if label is None:
            raise PairsError(f"{where}: 'same' is 1 or 0, not {row['same']!r}")
        same.append(label)
        for name in (row["first"], row["second"]):
            if name not in images:
                images[name] = _read_image(folder, name or "", where, _SUFFIXES)
    index = {name: number for number, name in enumerate(images)}
    order = np.random.default_rng(_SEED).permutation(len(rows))
    first, second = (
        np.array([index[row[name]] for _, row in rows], np.intp)[order] for name in _COLUMNS[:2]
    )
    own = _own(images, first, second)
    return Pairs(list(images), list(images.values()), first, second, np.array(same)[order], own=own)


def _own(
    images: Mapping[str, bytes], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return which pairs are the first one of two files that are not the same."""
    known = [_identity(name, data) for name, data in images.items()]
    seen: set[frozenset[bytes]] = set()
    own = []
    for one, other in zip(first, second, strict=True):
        pair = frozenset((known[one], known[other]))
        own.append(len(pair) > 1 and pair not in seen)
        seen.add(pair)
    return np.array(own)


def _identity(name: str, data: bytes) -> bytes:
    """Return what copies of an image have in common. What is none, as an empty file, has none."""
    try:
        headers.inspect(data)
    except headers.UnreadableImageError:
        return name.encode()
    return data


def _read_image(folder: Path, name: str, where: str, suffixes: Sequence[str]) -> bytes:
    for suffix in suffixes:
        # A list is UTF-8, and so are names of files, whatever the locale says.
        path = folder / os.fsdecode(f"{name}{suffix}".encode())
        try:
            if path.is_file():
                return regular_files.read(path, regular_files.DATA_BYTES)
        except OSError as error:
            raise PairsError(f"{where}: {path} cannot be read: {error}") from error
    raise PairsError(f"{where}: there is no image '{name}' in {folder}")
