"""Which files a command is for: arguments, folders, and lists of names."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from face_embedding_client.cli.usage import UsageError

# What is taken of a folder: the formats that servers take, if they can.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif"})
_STANDARD_INPUT = Path("-")
# Some editors begin a text with it.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def add_options(command: argparse.ArgumentParser, metavar: str) -> None:
    """Add the options that name files to a command."""
    command.add_argument("files", nargs="*", type=Path, metavar=metavar)
    command.add_argument(
        "--recursive",
        action="store_true",
        help="of a folder, take all images below it: "
        f"{', '.join(sorted(suffix[1:] for suffix in SUFFIXES))}, but nothing hidden",
    )
    command.add_argument(
        "--files-from",
        type=Path,
        metavar="LIST",
        help="a file with more names, one a line; - is standard input",
    )
    command.add_argument(
        "--null", action="store_true", help="the names of --files-from end with a zero byte each"
    )


def files_of(options: argparse.Namespace) -> list[Path]:
    """Return the files that the options name, in their order; those of a folder by name.

    Raises:
        UsageError: if there are none, or the list cannot be read.
    """
    named: list[Path] = list(options.files)
    if options.files_from:
        named += _listed(options.files_from, b"\0" if options.null else b"\n")
    elif options.null:
        raise UsageError("--null is about the names of --files-from")
    files = [file for name in named for file in (_below(name) if options.recursive else [name])]
    if not files:
        folders = ", ".join(map(str, named))
        raise UsageError(f"there are no images in {folders}" if folders else "no files are named")
    return files


def _listed(path: Path, end: bytes) -> list[Path]:
    try:
        data = sys.stdin.buffer.read() if path == _STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise UsageError(f"--files-from: {path} cannot be read: {error.strerror}") from error
    names = data.removeprefix(_BYTE_ORDER_MARK).split(end)
    if end != b"\0" and b"\0" in data:
        raise UsageError(f"--files-from: {path} has zero bytes: add --null")
    return [Path(os.fsdecode(name)) for name in names if name]


def _below(name: Path) -> Iterator[Path]:
    """Yield a file, or the images below a folder; a folder that cannot be read is one of them."""
    if not name.is_dir():
        yield name
        return
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=unreadable.append):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            path = Path(folder, file)
            taken = path.suffix.lower() in SUFFIXES and not file.startswith(".")
            # A link to nothing is told of; a pipe or a device would never end.
            if taken and (path.is_file() or path.is_symlink()):
                yield path
    yield from (Path(error.filename) for error in unreadable)
