"""The command `face-embedding`, and what it reads and prints that is out of the ordinary."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode
from support.processes import child_environment


@pytest.fixture
def images(tmp_path: Path, faces: list[Face]) -> list[str]:
    """Aligned faces as files."""
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, face in zip(files, faces, strict=False):
        file.write_bytes(encode(face))
    return [str(file) for file in files]


def write_endlessly(pipe: Path) -> None:
    with contextlib.suppress(BrokenPipeError), pipe.open("wb") as opened:
        while True:
            opened.write(bytes(1 << 16))


@pytest.fixture
def no_files(tmp_path: Path) -> dict[str, Path]:
    """What is no image file, or far too large for one, and what is said of it."""
    huge, pipe, device = (tmp_path / name for name in ("huge.jpg", "pipe.jpg", "zero.jpg"))
    with huge.open("wb") as file:
        file.truncate(10 << 30)
    os.mkfifo(pipe)
    threading.Thread(target=write_endlessly, args=[pipe], daemon=True).start()
    device.symlink_to("/dev/zero")
    return {
        "has 10,737,418,240 bytes, at most": huge,
        "bytes, at most": pipe,
        "cannot be read: it is a device, and no file": device,
        "cannot be read: Is a directory": tmp_path,
    }


@pytest.mark.parametrize("command", ["embed", "faces", "matrix", "compare"])
def test_no_image_files(
    command: str, run: Any, images: list[str], no_files: dict[str, Path]
) -> None:
    """What cannot be an image is refused by its name, though it be endless."""
    if command == "compare":
        said = {words: run(command, images[0], str(file)) for words, file in no_files.items()}
    else:
        said = dict.fromkeys(no_files, run(command, *map(str, no_files.values()), images[0]))
    for words, file in no_files.items():
        status, _, err = said[words]
        assert status == 1
        assert f"{file}: " in err
        assert words in err


def test_too_large_is_not_read(
    run: Any, images: list[str], no_files: dict[str, Path], tmp_path: Path
) -> None:
    """A file that is too large is kept as refused, like any other that the server refuses."""
    huge, *_ = no_files.values()
    status = run("embed", str(huge), images[0], "--output", str(tmp_path / "out.npz"))[0]
    with np.load(tmp_path / "out.npz") as stored:
        assert (status, stored["names"].tolist()) == (1, images[:1])
        assert stored["error_reasons"].tolist() == ["IMAGE_TOO_LARGE"]


def test_pipe(run: Any, images: list[str], tmp_path: Path) -> None:
    """A pipe is read once it is written, as those of a shell are."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = Path(images[0]).read_bytes()
    threading.Thread(target=pipe.write_bytes, args=[data], daemon=True).start()
    assert run("embed", str(pipe))[0] == 0


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_list_from_windows(mark: bytes, run: Any, images: list[str], tmp_path: Path) -> None:
    """A list whose lines end as on Windows names the same files."""
    listed = tmp_path / "list.txt"
    listed.write_bytes(mark + b"".join(f"{name}\r\n".encode() for name in images))
    assert run("embed", "--files-from", str(listed))[0] == 0


def test_others_in_a_folder(run: Any, images: list[str], tmp_path: Path) -> None:
    """What a folder holds besides images is said."""
    for name in ("a.tif", "b.tif", "notes", ".hidden"):
        (tmp_path / name).write_text("")
    _, out, err = run("embed", str(tmp_path), "--recursive", "--json")
    assert [row["name"] for row in json.loads(out)] == images
    assert "left out: 3 files that are no images by their suffix (2 .tif, 1 without one)" in err


def test_list_in_utf_16(run: Any, images: list[str], tmp_path: Path) -> None:
    """A list in UTF-16 is refused as such."""
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(images), "utf-16")
    status, _, err = run("embed", "--files-from", str(listed))
    assert status == 2
    assert f"{listed} is UTF-16: save it as UTF-8" in err


def test_endless_token(run: Any) -> None:
    """A token file that has no end is refused."""
    status, _, err = run("health", "--token-file", "/dev/zero")
    assert status == 2
    assert "--token-file: /dev/zero has more than 1,048,576 bytes" in err


@pytest.mark.parametrize("command", ["embed", "faces", "matrix"])
def test_names_stay_on_a_line(command: str, run: Any, images: list[str], tmp_path: Path) -> None:
    """Line breaks in a name, and what steers a terminal, are printed as escapes."""
    odd, junk = tmp_path / "a\nb.png", tmp_path / "\x1b[2J.png"
    Path(images[0]).rename(odd)
    junk.write_bytes(b"junk")
    _, out, err = run(command, str(odd), images[1], str(junk))
    assert r"a\nb" in out + err
    assert r"\x1b[2J.png: encoded: the image is not" in err
    assert "\x1b" not in out + err


def test_the_same_file_twice(run: Any, images: list[str], tmp_path: Path) -> None:
    """A file that is named twice has one embedding under its name."""
    output = tmp_path / "x.npz"
    run("embed", images[0], images[0], "--output", str(output))
    assert run("compare", f"{output}#{images[0]}", images[0])[0] == 0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "face_embedding_client", *arguments]


@pytest.mark.slow
def test_closed_streams(server: RunningServer, images: list[str], tmp_path: Path) -> None:
    """Where standard streams are closed, nothing that is opened later takes their place."""
    output = tmp_path / "x.npz"
    given = command("embed", images[0], "gone.png", "--output", str(output))
    script = f"{shlex.join([*given, '--address', server.address])} <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", script], check=False, env=child_environment())
    with np.load(output) as stored:
        assert (done.returncode, stored["names"].tolist()) == (1, images[:1])


@pytest.mark.slow
def test_list_from_nowhere(server: RunningServer) -> None:
    """A list from a standard input that is closed names no files."""
    given = command("embed", "--files-from", "-", "--address", server.address)
    script = f"{shlex.join(given)} <&-"
    done = subprocess.run(
        ["/bin/sh", "-c", script], check=False, env=child_environment(), stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stderr) == (2, b"face-embedding: error: no files are named\n")


@pytest.mark.slow
def test_answers_that_cannot_be_printed(
    server: RunningServer, images: list[str], tmp_path: Path
) -> None:
    """Where what is printed finds no room, that is said, and the output is written."""
    output = tmp_path / "x.npz"
    given = command("embed", *images, "--output", str(output), "--address", server.address)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            given, check=False, stdout=full, stderr=subprocess.PIPE, text=True,
            env={**child_environment(), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == (
        "face-embedding: cannot print: No space left on device; what is not printed is kept all "
        f"the same\n2 of 2 embeddings in {output}\n"
    )
