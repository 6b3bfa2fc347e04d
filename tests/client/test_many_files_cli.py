"""The command `face-embedding` with many files: how they are named, and that nothing is lost."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mortal
import numpy as np
import pyarrow.parquet as pq
import pytest
from full_disk import full_disk
from supervised import Supervised

from face_embedding_client.cli import stored
from face_embedding_client.cli.usage import UsageError
from face_embedding_client.cli.writing import replaced
from face_embedding_server.faces.images import Image as Face
from support import encode, wait_until
from support.processes import child_environment


@pytest.fixture
def folder(tmp_path: Path, faces: list[Face]) -> Path:
    """A folder with faces in folders of it, and with what is no image."""
    names = ["b/2.PNG", "b/c/1.jpeg", "a.png", ".hidden/x.png", ".x.png", "notes.txt"]
    for name, face in zip(names, faces, strict=False):
        path = tmp_path / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(face, ".jpg" if name.endswith("jpeg") else ".png"))
    return tmp_path / "faces"


@pytest.fixture
def images(folder: Path) -> list[str]:
    """The images of that folder that are not hidden, by name."""
    return [str(folder / name) for name in ("a.png", "b/2.PNG", "b/c/1.jpeg")]


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Supervised]:
    """A server that can be killed."""
    running = Supervised(tmp_path)
    yield running
    running.end()


@pytest.fixture
def few(tmp_path: Path) -> list[Path]:
    """Files whose contents tell them apart."""
    files = [tmp_path / f"{number}.jpg" for number in range(4)]
    for number, file in enumerate(files):
        file.write_text(f"face{number}")
    return files


def names_in(out: str) -> list[str]:
    return [row["name"] for row in json.loads(out)]


def test_recursive(run: Any, folder: Path, images: list[str]) -> None:
    """With `--recursive` a folder stands for the images below it, by name, without hidden ones."""
    status, out, _ = run("embed", str(folder), "--recursive", "--json")
    assert (status, names_in(out)) == (0, images)


@pytest.mark.parametrize("linked", [False, True])
def test_impossible_name(linked: bool, run: Any, folder: Path, images: list[str]) -> None:
    """With `--recursive` too, what cannot be looked at costs only itself, wherever it is named."""
    bad = Path("x" * 300)
    if linked:
        # As what a folder has in it that may be listed and not searched.
        bad, target = folder / "link.png", bad
        bad.symlink_to(target)
    status, out, err = run("embed", "--recursive", str(bad), str(folder))
    assert (status, f"{images[0]}: norm " in out) == (1, True)
    assert f"{bad}: cannot be read: File name too long" in err


def test_empty_folder(run: Any, tmp_path: Path) -> None:
    """A folder without images is an error."""
    (tmp_path / "empty").mkdir()
    status, _, err = run("embed", str(tmp_path / "empty"), "--recursive")
    assert status == 2
    assert f"there are no images in {tmp_path / 'empty'}" in err


def test_no_files(run: Any) -> None:
    """So is no file at all."""
    assert run("embed")[::2] == (2, "face-embedding: error: no files are named\n")


@pytest.mark.parametrize("command", ["embed", "faces", "matrix"])
def test_list(command: str, run: Any, images: list[str], tmp_path: Path) -> None:
    """`--files-from` names a list, a line each, for every command that takes files."""
    listed = tmp_path / "list"
    listed.write_bytes(b"\xef\xbb\xbf" + "\n".join(images[1:]).encode())
    rows = json.loads(run(command, images[0], "--files-from", str(listed), "--json")[1])
    found = rows["names"] if command == "matrix" else [row["name"] for row in rows]
    assert found == images


def test_null(run: Any, folder: Path, images: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--files-from - --null` reads names from standard input as `find -print0` writes them."""
    odd = folder / "a\nb.png"
    Path(images[0]).rename(odd)
    given = io.TextIOWrapper(io.BytesIO(os.fsencode(odd) + b"\0"))
    monkeypatch.setattr(sys, "stdin", given)
    assert names_in(run("embed", "--files-from", "-", "--null", "--json")[1]) == [str(odd)]


def test_list_with_zeros(run: Any, tmp_path: Path) -> None:
    """A list that has them asks for `--null`."""
    (tmp_path / "list").write_bytes(b"a\0b\0")
    status, _, err = run("embed", "--files-from", str(tmp_path / "list"))
    assert status == 2
    assert "add --null" in err


def test_archive(run: Any, images: list[str], tmp_path: Path) -> None:
    """The .npz has for each face all that is said of it, and the files that have none."""
    output, junk = tmp_path / "x.npz", tmp_path / "junk.png"
    junk.write_bytes(b"junk")
    Path(images[1]).write_bytes(encode(np.zeros((112, 112, 3), np.uint8)))
    assert run("embed", *images, str(junk), "--output", str(output))[0] == 1
    rows = json.loads(run("embed", *images, "--json")[1])
    with np.load(output) as archive:
        assert archive["names"].tolist() == images
        np.testing.assert_array_equal(
            archive["embeddings"], np.array([row["values"] for row in rows], np.float32)
        )
        np.testing.assert_array_equal(
            archive["norms"], np.array([row["norm"] for row in rows], np.float32)
        )
        assert {str(archive["space"])} == {row["space"] for row in rows}
        for name in ("model_version", "precision"):
            assert archive[f"{name}s"].tolist() == [row[name] for row in rows]
        assert [json.loads(text) for text in archive["warnings"]] == [
            row["warnings"] for row in rows
        ]
        assert rows[1]["warnings"]
        assert archive["error_names"].tolist() == [str(junk)]
        assert archive["error_reasons"].tolist() == ["IMAGE_UNREADABLE"]


def test_full_disk(run: Any, images: list[str], tmp_path: Path) -> None:
    """A disk that is full leaves an earlier output as it was."""
    output = tmp_path / "x.npz"
    output.write_bytes(b"earlier")
    with full_disk():
        status, _, err = run("embed", *images * 5, "--output", str(output))
    assert (status, output.read_bytes()) == (2, b"earlier")
    assert f"{output}.part cannot be written: File too large" in err


def test_replaced(tmp_path: Path) -> None:
    """What finds no room does not take the place of a file, and leaves nothing behind."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "file"
    file.write_bytes(b"earlier")
    with (
        pytest.raises(UsageError, match="cannot be written"),
        full_disk(),
        replaced(file) as written,
    ):
        written.write(bytes(5000))
    assert (file.read_bytes(), list(folder.iterdir())) == (b"earlier", [file])


def test_replaced_keeps_link_and_mode(tmp_path: Path) -> None:
    """What replaces a file behind a link keeps the link, and the mode of the file."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"earlier")
    file.chmod(0o640)
    link.symlink_to(file)
    with replaced(link) as written:
        written.write(b"later")
    assert (link.is_symlink(), file.read_bytes(), file.stat().st_mode & 0o777) == (
        True,
        b"later",
        0o640,
    )


def embed(server: Supervised, output: Path, *arguments: object) -> list[str]:
    """Return the command that embeds to a file."""
    flags = ["--address", server.address, "--outage", "0", "--output", str(output)]
    command = [sys.executable, "-m", "face_embedding_client", "embed", *flags]
    return [*command, *map(str, arguments)]


def result(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=child_environment()
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_resume(suffix: str, fragile: Supervised, few: list[Path], tmp_path: Path) -> None:
    """What was answered before the server went is kept, and not sent again with `--resume`."""
    output = tmp_path / f"x{suffix}"
    output.write_bytes(b"earlier")
    # The last one is taken when no more than three before it have no answer.
    for number in range(4, 12):
        few.append(tmp_path / f"{number}.jpg")
        few[-1].write_text(f"face{number}")
    last = tmp_path / "last.jpg"
    last.write_bytes(mortal.POISON)
    first = result(embed(fragile, output, *few, last))
    assert (first.returncode, output.read_bytes()) == (2, b"earlier")
    assert f"{last}: the command ended before its answer" in first.stderr
    assert f" of 13 files have no answer; the others are kept in {output}.part" in first.stderr
    fragile.start()
    last.write_text("good")
    again = result(embed(fragile, output, *few, last, "--resume"))
    assert (again.returncode, again.stderr) == (0, f"13 of 13 embeddings in {output}\n")
    assert [fragile.asked_for(f"face{number}".encode()) for number in range(8)] == [1] * 8
    if suffix == ".npz":
        with np.load(output) as archive:
            norms = archive["norms"].tolist()
    else:
        norms = pq.read_table(output).column("norm").to_pylist()
    assert norms == [5] * 10 + [6] * 2 + [4]
    assert not output.with_name(f"{output.name}.part").exists()


@pytest.mark.slow
def test_interrupted(fragile: Supervised, few: list[Path], tmp_path: Path) -> None:
    """So is what was answered before Ctrl-C; another command does not get at it before."""
    output, part = tmp_path / "x.npz", tmp_path / "x.npz.part"
    few[2].unlink()
    os.mkfifo(few[2])  # What reads it waits.
    command = embed(fragile, output, *few)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment()
    ) as process:
        wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") == 3)
        for flags in ([], ["--resume"]):
            other = result(embed(fragile, output, few[0], *flags))
            assert (other.returncode, "written by another run" in other.stderr) == (2, True)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert f"{few[3]}: the command ended before its answer" in err
    assert err.endswith("face-embedding: interrupted\n")
    few[2].unlink()
    few[2].write_text("face2")
    refused = result(command)
    assert refused.returncode == 2
    assert "go on with them by --resume, or remove it" in refused.stderr
    assert result([*command, "--resume"]).returncode == 0
    assert [fragile.asked_for(f"face{number}".encode()) for number in range(4)] == [1] * 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_twice(
    number: signal.Signals, fragile: Supervised, few: list[Path], tmp_path: Path
) -> None:
    """What is printed after a signal, as JSON, is not cut off by a second one."""
    os.mkfifo(pipe := tmp_path / "pipe.jpg")  # What reads it waits.
    names = [f"{few[0]}", f"{pipe}", *(f"{tmp_path}/{each}.jpg" for each in range(9, 2000))]
    (tmp_path / "list").write_text("\n".join(names))
    command = embed(fragile, tmp_path / "x.npz", "--json", "--files-from", tmp_path / "list")
    part = tmp_path / "x.npz.part"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=child_environment()
    ) as process:
        wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") == 2)
        process.send_signal(number)
        # More than fits into the pipe comes after the signal.
        assert process.stdout
        first = process.stdout.read(1000)
        process.send_signal(number)
        out = first + process.stdout.read()
    assert (process.returncode, names_in(out.decode())) == (128 + number, names)


@pytest.mark.slow
def test_resume_with_another_detector(fragile: Supervised, few: list[Path], tmp_path: Path) -> None:
    """Faces that two detectors found are not in one file."""
    output, part = tmp_path / "x.npz", tmp_path / "x.npz.part"
    terms = {"format": 1, "space": "", "detect": True, "select": None, "upright": None}
    terms |= {"check_alignment": False, "detector": "yunet"}
    part.write_text(f"{json.dumps(terms)}\n")
    command = embed(fragile, output, *few, "--detect", "--resume")
    done = result(command)
    assert (done.returncode, output.exists()) == (2, False)
    assert f"{part} was made with detector yunet, and not " in done.stderr
    part.write_text(f"{json.dumps(terms | {'detector': ''})}\n")
    assert result(command).returncode == 0


@pytest.mark.slow
def test_odd_names_in_columns(fragile: Supervised, few: list[Path], tmp_path: Path) -> None:
    """In Parquet such a name is an escape, by which `compare` finds it, as by itself."""
    odd = tmp_path / os.fsdecode(b"\xff.jpg")
    few[0].rename(odd)
    output = tmp_path / "x.parquet"
    assert result(embed(fragile, output, odd)).returncode == 0
    escaped = str(tmp_path / "\\udcff.jpg")
    assert pq.read_table(output).column("file").to_pylist() == [escaped]
    assert {stored.read(f"{output}#{name}").norm for name in (odd, escaped)} == {5}


@pytest.mark.slow
def test_odd_names(fragile: Supervised, few: list[Path], tmp_path: Path) -> None:
    """A name that is no UTF-8 is printed as an escape, on a terminal of ASCII too, and stored."""
    odd = tmp_path / os.fsdecode(b"\xff\xe4.jpg")
    few[0].rename(odd)
    accented = tmp_path / "Zoë.jpg"
    few[1].rename(accented)
    output = tmp_path / "x.npz"
    done = subprocess.run(
        embed(fragile, output, odd, accented),
        check=False,
        capture_output=True,
        env={**child_environment(), "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert b"\\udcff\\udce4.jpg: norm 5" in done.stdout
    assert b"Zo\\xeb.jpg: norm 5" in done.stdout
    with np.load(output) as archive:
        assert archive["names"].tolist() == [str(odd), str(accented)]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_closed_pipe(kept: bool, fragile: Supervised, few: list[Path], tmp_path: Path) -> None:
    """Without a reader the command stops; with `--output` it writes that first."""
    output = tmp_path / "x.npz"
    command = embed(fragile, output, *few)
    if not kept:
        at = command.index("--output")
        del command[at : at + 2]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        environment = {**child_environment(), "PYTHONUNBUFFERED": "1"}
        done = subprocess.run(
            command, check=False, stdout=closed, stderr=subprocess.PIPE, env=environment
        )
    assert b"Traceback" not in done.stderr
    assert (done.returncode, output.exists()) == ((0, True) if kept else (141, False))
