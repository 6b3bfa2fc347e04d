"""Folders that appear whole or not at all."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from face_embedding_models.errors import StoreError
from face_embedding_models.store import sealed


def put(text: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "a.txt").write_text(text)

    return fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with one file."""
    sealed.write(tmp_path / "deep" / "sealed", put("first"), {"origin": "here"})
    return tmp_path / "deep" / "sealed"


def test_file(folder: Path) -> None:
    """A file is read as it was sealed."""
    assert sealed.read_file(folder, "a.txt") == b"first"


def test_record(folder: Path) -> None:
    """The record has what its writer wanted to remember."""
    assert sealed.read_record(folder)["origin"] == "here"


def test_nothing_pending(folder: Path) -> None:
    """A finished write leaves nothing but its folder."""
    assert [path.name for path in folder.parent.iterdir()] == ["sealed"]


def test_replacement(folder: Path) -> None:
    """A folder that is there is replaced, and nothing is left of it."""
    sealed.write(folder, put("second"), {})
    left = [path.name for path in folder.parent.iterdir()]
    assert (sealed.read_file(folder, "a.txt"), left) == (b"second", ["sealed"])


def test_replacements_at_once(folder: Path) -> None:
    """Of several that replace a folder at the same time, the last one is there, whole."""
    gate = threading.Barrier(4, timeout=10)

    def replace(number: int) -> None:
        for _ in range(20):
            gate.wait()
            sealed.write(folder, put(str(number)), {})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replace, range(4)))
    assert sealed.read_file(folder, "a.txt").decode() in "0123"
    assert [path.name for path in folder.parent.iterdir()] == ["sealed"]


WRITER = """
import sys
from pathlib import Path
from face_embedding_models.store import sealed

with sealed.pending_folder(Path(sys.argv[1])) as folder:
    (folder / "model.bin").write_text("a part")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [True, False])
def test_pending_of_another_process(folder: Path, killed: bool) -> None:
    """What a killed process was writing is removed; what is still being written is not."""
    command = [sys.executable, "-c", WRITER, str(folder.parent)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        left = Path(writer.stdout.readline().strip())
        if killed:
            writer.kill()
            writer.wait()
        sealed.write(folder, put("second"), {})
        assert left.exists() == (not killed)


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (RuntimeError("no model"), RuntimeError, "no model"),
        (OSError(28, "No space left"), StoreError, "cannot write .*sealed: .*No space left"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
    ids=["error", "disk", "interrupt"],
)
def test_failed_fill(
    folder: Path, raised: BaseException, expected: type[BaseException], message: str
) -> None:
    """A write that fails keeps the old folder and leaves nothing behind."""

    def fill(pending: Path) -> None:
        put("second")(pending)
        raise raised

    with pytest.raises(expected, match=message):
        sealed.write(folder, fill, {})
    left = [path.name for path in folder.parent.iterdir()]
    assert (sealed.read_file(folder, "a.txt"), left) == (b"first", ["sealed"])


@pytest.mark.parametrize("data", [b"fIrst", b"firs", b""], ids=["byte", "cut", "empty"])
def test_changed_file(folder: Path, data: bytes) -> None:
    """A file that was changed after it was sealed is refused."""
    (folder / "a.txt").write_bytes(data)
    with pytest.raises(StoreError, match=r"a\.txt was changed since it was written \(SHA-256"):
        sealed.read_file(folder, "a.txt")


def test_unsealed_file(folder: Path) -> None:
    """A file that was put there later is refused."""
    (folder / "b.txt").touch()
    with pytest.raises(StoreError, match=r"b\.txt was changed .* expected None"):
        sealed.read_file(folder, "b.txt")


def test_missing_file(folder: Path) -> None:
    """A file that was removed is reported with its path."""
    (folder / "a.txt").unlink()
    with pytest.raises(StoreError, match=r"sealed/a\.txt cannot be read: .*No such file"):
        sealed.read_file(folder, "a.txt")


RECORDS = {
    "not-json": (b"{", r"record\.json is damaged: Invalid JSON"),
    "not-text": (b"\xff", r"record\.json is damaged: Invalid JSON"),
    "list": (b"[]", r"record\.json is damaged: Input should be an object"),
    "no-files": (json.dumps({"files": 1}).encode(), r"record\.json is damaged: files: "),
}


@pytest.mark.parametrize(("data", "message"), RECORDS.values(), ids=RECORDS)
def test_damaged_record(folder: Path, data: bytes, message: str) -> None:
    """A damaged record is refused."""
    (folder / sealed.RECORD_FILE).write_bytes(data)
    with pytest.raises(StoreError, match=message):
        sealed.read_record(folder)


def test_missing_record(tmp_path: Path) -> None:
    """A folder without a record is not sealed."""
    with pytest.raises(StoreError, match=r"record\.json is missing or damaged: .*No such file"):
        sealed.read_record(tmp_path)


def test_unwritable_place(tmp_path: Path) -> None:
    """A place that cannot hold folders is reported as the store's."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write to the store: .*File exists"):
        sealed.write(tmp_path / "file" / "sealed", put("x"), {})
