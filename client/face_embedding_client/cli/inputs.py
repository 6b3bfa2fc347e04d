"""Which files a command is for: arguments, folders, and lists of names."""

import argparse
import codecs
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from face_embedding_client.cli.usage import UsageError

# What is taken of a folder: the formats that servers take, if they can.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif"})
_STANDARD_INPUT = Path("-")
# Some million names.
_MOST_LIST_BYTES = 1 << 28
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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

    What a folder holds besides is said on standard error.

    Raises:
        UsageError: if there are none, or the list cannot be read.
    """
    named: list[Path] = list(options.files)
    if options.files_from:
        named += _listed(options.files_from, b"\0" if options.null else b"\n")
    elif options.null:
        raise UsageError("--null is about the names of --files-from")
    others: Counter[str] = Counter()
    files = [
        file for name in named for file in (_below(name, others) if options.recursive else [name])
    ]
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        words = f"{others.total()} files that are no images by their suffix ({kinds})"
        print(f"left out: {words:.200}", file=sys.stderr)
    if not files:
        folders = ", ".join(map(str, named))
        raise UsageError(f"there are no images in {folders}" if folders else "no files are named")
    return files


def _listed(path: Path, end: bytes) -> list[Path]:
    try:
        with contextlib.ExitStack() as stack:
            is_file = path != _STANDARD_INPUT
            list_ = stack.enter_context(path.open("rb")) if is_file else sys.stdin.buffer
            data = list_.read(_MOST_LIST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--files-from: {path} cannot be read: {error.strerror}") from error
    if len(data) > _MOST_LIST_BYTES:
        raise UsageError(f"--files-from: {path} has more than {_MOST_LIST_BYTES:,} bytes")
    if data.startswith(_UTF_16):
        raise UsageError(f"--files-from: {path} is UTF-16: save it as UTF-8")
    names = data.removeprefix(codecs.BOM_UTF8).split(end)
    if end != b"\0":
        if b"\0" in data:
            raise UsageError(f"--files-from: {path} has zero bytes: add --null")
        # Lists that were written on Windows end each line with both.
        names = [name.removesuffix(b"\r") for name in names]
    return [Path(os.fsdecode(name)) for name in names if name]


def _below(name: Path, others: Counter[str]) -> Iterator[Path]:
    """Yield a file, or the images below a folder; a folder that cannot be read is one of them.

    What else is there is counted by its suffix.
    """
    if not _is_folder(name):
        yield name
        return
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=unreadable.append):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            path = Path(folder, file)
            if file.startswith("."):
                continue
            if path.suffix.lower() not in SUFFIXES:
                others[path.suffix or "without one"] += 1
            elif not _never_ends(path):
                yield path
    yield from (Path(error.filename) for error in unreadable)


def _is_folder(name: Path) -> bool:
    # What is wrong with any other is told of it, when it is read.
    with contextlib.suppress(OSError):
        return name.is_dir()
    return False


def _never_ends(path: Path) -> bool:
    """Tell whether it is a pipe or a device; a link to nothing, or what may not be seen, is none.

    Those are told of, when they are read.
    """
    with contextlib.suppress(OSError):
        return not (path.is_file() or path.is_symlink())
    return False
