"""Holding weights against the digests of their manifest."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from face_embedding_models.errors import ImportRefusedError
from face_embedding_models.formats import PARTS
from face_embedding_models.installing import sources
from face_embedding_models.installing.sources import LocalFile
from face_embedding_models.manifest import AnyManifest, Download
from face_embedding_models.store import sealed
from face_embedding_models.store.stored import Origin


@dataclass(frozen=True)
class Verdict:
    """What is known of weights.

    Args:
        origin: what they are.
        difference: what speaks against them, if anything does.
        refuted: whether that is a digest that they do not have, and not only one that is unknown.
    """

    origin: Origin
    difference: str = ""
    refuted: bool = False


def examine(
    known: AnyManifest,
    files: Sequence[LocalFile],
    may_differ: bool,
    tell: Callable[[str], object],
) -> tuple[dict[str, bytes], Verdict]:
    """Read weights, and hold them against the digests of their manifest.

    Args:
        known: the manifest.
        files: a folder, an archive, or the files of the weights.
        may_differ: whether they are read though nothing proves them.
        tell: is told what a person may want to know.

    Returns:
        Their bytes by the names of `formats.PARTS`, and what is known of them. There are none of an
        archive that differs and may not.

    Raises:
        ImportRefusedError: if they cannot be read.
    """
    path, shown = files[0].path, shown_of(files)
    if len(files) == 1 and path.is_dir():
        found = sources.read_folder(known, path)
        return found, _judge_files(known, found)
    for file in files:
        if not file.path.is_file():
            raise ImportRefusedError(
                f"{file.path} is neither a folder, nor a file, nor an http(s) address"
            )
    if len(files) > 1 or (known.format == "onnx" and not sources.is_archive(path)):
        # A single ONNX file may be called anything.
        named = (
            files if len(files) > 1 else [LocalFile(path, f"only{PARTS['onnx'][0].suffix}", shown)]
        )
        found = sources.read_files(known, named, shown)
        return found, _judge_files(known, found)
    return _examine_archive(known, path, shown, may_differ, tell)


def _examine_archive(
    known: AnyManifest, path: Path, shown: str, may_differ: bool, tell: Callable[[str], object]
) -> tuple[dict[str, bytes], Verdict]:
    archive = known.archive
    different = difference(archive, path) if archive else "no digest of an archive is known"
    refuted = bool(archive and archive.sha256 and different)
    if different and not may_differ and not known.files:
        return {}, Verdict("unverified", different, refuted)
    try:
        found = sources.read_archive(known, path, shown)
    except ImportRefusedError as error:
        if not different or may_differ:
            raise
        return {}, Verdict("unverified", f"{different}; {error}", refuted)
    inside = _judge_files(known, found)
    if archive and not different:
        if known.files:
            same = "have" if not inside.difference else "do not have"
            tell(f"{shown} is the published archive; its files {same} the digests of the manifest")
        return found, Verdict(archive.proof)
    if known.files and not inside.difference:
        return found, inside
    return found, Verdict("unverified", different, refuted or inside.refuted)


def _judge_files(known: AnyManifest, found: dict[str, bytes]) -> Verdict:
    """Hold the files of weights against the digests of the manifest."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    for part in PARTS[known.format] if known.files else ():
        (expected,) = (file for file in known.files if file.file.endswith(part.suffix))
        size, digest = len(found[part.name]), digests[part.name]
        if expected.size is not None and size != expected.size:
            return Verdict(
                "unverified", f"{expected.file} has {size:,} bytes, not {expected.size:,}", True
            )
        if expected.sha256 not in (None, digest):
            return Verdict(
                "unverified",
                f"the SHA-256 of {expected.file} is {digest}, not {expected.sha256}",
                True,
            )
    if not known.files or not all(file.sha256 for file in known.files):
        held = "; ".join(
            f"{name} has {len(data):,} bytes and the SHA-256 {digests[name]}"
            for name, data in found.items()
        )
        only = ", only of the archive" if known.archive and known.archive.sha256 else ""
        return Verdict("unverified", f"the manifest has no digest of these files{only} ({held})")
    proofs = {file.proof for file in known.files}
    return Verdict("published" if proofs == {"published"} else "corroborated")


def difference(expected: Download, path: Path) -> str:
    """Return how a file differs from the one of the manifest, or nothing."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"it has {size:,} bytes, not {expected.size:,}"
    if expected.sha256 is None:
        return "no digest of it is known"
    digest = sealed.sha256_of(path)
    return "" if digest == expected.sha256 else f"its SHA-256 is {digest}, not {expected.sha256}"


def shown_of(files: Sequence[LocalFile]) -> str:
    """Return what to call the files of a source in messages."""
    return ", ".join(file.shown for file in files)


def has_digests(known: AnyManifest) -> bool:
    """Tell whether the manifest has digests that weights can be held against."""
    of_archive = known.archive is not None and known.archive.sha256 is not None
    return of_archive or (bool(known.files) and all(file.sha256 for file in known.files))
