"""What a job leaves: a Parquet file for each block of the inputs, there as a whole or not at all.

Its name is its block's number, so that a block that was embedded twice, whatever was killed
meanwhile, is there once.

    OUTPUT/
      part-000000.parquet          the faces of block 0
      _job/
        inputs.parquet             the list of all images, a row group for each block
        pending/RUN/               what a run is writing, or was when something ended it
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset

from face_embedding_client import parquet
from face_embedding_server.errors import OperatorError
from on_ray import places
from on_ray.inputs import InputList, Inputs
from on_ray.places import Place

_JOB = "_job"
_PART = re.compile(r"part-(\d+)\.parquet")
# Rows that are in memory before they are written.
_GROUP_ROWS = 1024
# So often a block is begun in one run.
_TRIES = 5


class OutputError(OperatorError):
    """The results are of another job, or not whole; the message says why."""


@dataclass(frozen=True)
class Counts:
    """How many rows there are, and how many of them are of what has no embedding."""

    rows: int
    failed: int


class Output:
    """The folder of a job's results.

    Args:
        uri: the folder.
        run: the name of the run that writes into it.
    """

    def __init__(self, uri: str, run: str) -> None:
        self.uri = uri
        self._folder = Place.of(uri)
        self._list = self._folder / _JOB / "inputs.parquet"
        self._pending = self._folder / _JOB / "pending"
        self._unfinished = self._pending / run

    def begin(self, inputs: Inputs, terms: Mapping[str, Any]) -> InputList:
        """List the inputs, and return the list, which is that of an earlier run if there was one.

        Raises:
            OutputError: if that run was of other inputs or on other terms, or if the folder has
                something else.
        """
        filesystem, listed = self._folder.filesystem, self._unfinished / "inputs.parquet"
        filesystem.create_dir(self._unfinished.path, recursive=True)
        with places.written(listed, self._unfinished) as file:
            inputs.write_list(file, json.dumps(terms))
        if not self._list.exists():
            self._check_empty()
            filesystem.move(listed.path, self._list.path)
            return self.inputs()
        self._check_same(InputList(listed), begun := self.inputs())
        return begun

    def _check_empty(self) -> None:
        others = [name for name in self._folder.names() if name != _JOB]
        if others:  # Parts among them would be taken for those of this job.
            raise OutputError(
                f"{self.uri} has something else, such as {others[0]}: give an empty folder for the "
                f"results, or one that is not there yet"
            )

    def _check_same(self, now: InputList, begun: InputList) -> None:
        first, second = json.loads(begun.terms), json.loads(now.terms)
        other = [
            f"{name} {first.get(name)}, and not {second.get(name)}"
            for name in {**first, **second}
            if first.get(name) != second.get(name)
        ]
        if other:
            raise OutputError(
                f"{self.uri} was begun with {'; '.join(other)}: go on as it was begun, or give "
                f"another folder for the results"
            )
        if now.digest != begun.digest:
            raise OutputError(
                f"the inputs changed since {self.uri} was begun, when they were {begun.images:,} "
                f"images; now they are {now.images:,}, or some have another name, size or time: "
                f"give another folder for the results"
            )

    def inputs(self) -> InputList:
        """Return the list of inputs."""
        return InputList(self._list)

    def missing(self, blocks: int) -> list[int]:
        """Return the numbers of the blocks that have no part yet."""
        found = map(_PART.fullmatch, self._folder.names())
        there = {int(match[1]) for match in found if match}
        return [number for number in range(blocks) if number not in there]

    def has(self, block: int) -> bool:
        """Return whether a block has its part."""
        return self._part(block).exists()

    def write(self, block: int, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
        """Write the part of a block, of which few rows are in memory at a time.

        Raises:
            OutputError: if all who tried before in this run were ended by something.
        """
        part = self._part(block)
        # Another run may have ended meanwhile, and have removed it.
        self._folder.filesystem.create_dir(self._unfinished.path, recursive=True)
        tried = [name for name in self._unfinished.names() if name.startswith(part.name)]
        if len(tried) >= _TRIES:
            raise OutputError(
                f"whoever embedded block {block} was ended {_TRIES} times: does one of its images "
                f"end the process, or need too much memory?"
            )
        with (
            places.written(part, self._unfinished) as file,
            parquet.writer(file, schema) as writer,
        ):
            for group in _grouped(rows):
                writer.write_batch(parquet.record_batch(group, schema))

    def counts(self) -> Counts:
        """Count the rows of all parts."""
        failed = pyarrow.dataset.field("error_reason").is_valid()
        parts = self._parts()
        return Counts(parts.count_rows(), parts.count_rows(filter=failed))

    def failures(self, most: int) -> list[dict[str, str]]:
        """Return `file`, `error_reason` and `error_message` of what failed; at most so many."""
        failed = pyarrow.dataset.field("error_reason").is_valid()
        columns = ["file", "error_reason", "error_message"]
        found: list[dict[str, str]] = (
            self._parts().scanner(columns=columns, filter=failed).head(most).to_pylist()
        )
        return found

    def tidy(self) -> None:
        """Remove what was not finished."""
        self._folder.filesystem.delete_dir_contents(self._pending.path)

    def _parts(self) -> pyarrow.dataset.Dataset:
        # And of nothing that somebody put beside them.
        paths = [each.path for each in self._folder.children() if _PART.fullmatch(each.base_name)]
        return pyarrow.dataset.dataset(paths, filesystem=self._folder.filesystem, format="parquet")

    def _part(self, block: int) -> Place:
        return self._folder / f"part-{block:06d}.parquet"


def _grouped(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    waiting = iter(rows)
    return iter(lambda: list(itertools.islice(waiting, _GROUP_ROWS)), [])
