"""Bringing weights into the store: from the addresses of a manifest, or from what somebody has.

Weights whose digest is the one that the manifest names are marked as proven, whatever they came
from: the archive, or the files that it would hold. Others are refused, or marked as unverified.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from face_embedding_models.errors import FetchError, ImportRefusedError, LicenseError, StoreError
from face_embedding_models.formats import PARTS
from face_embedding_models.installing import fetching, partial_downloads, proving
from face_embedding_models.installing.fetching import Timeouts
from face_embedding_models.installing.sources import LocalFile
from face_embedding_models.manifest import (
    AnyManifest,
    DetectorManifest,
    Download,
    License,
    Manifest,
)
from face_embedding_models.store import Store, sealed
from face_embedding_models.store.stored import Acceptance, Provenance, StoredModel, StoredWeights

MAX_DOWNLOAD_BYTES = 1 << 30

Put: TypeAlias = Callable[[Store, Manifest, Mapping[str, bytes], Provenance], StoredModel]
Tell: TypeAlias = Callable[[str], object]


def import_weights(
    store: Store,
    known: AnyManifest,
    given: Sequence[str],
    *,
    allow_unverified: bool = False,
    timeouts: Timeouts | None = None,
    put: Put = Store.add,
    tell: Tell = lambda _: None,
) -> StoredWeights:
    """Put weights that somebody has into the store.

    Args:
        store: where to.
        known: the manifest of the model or the detector.
        given: the path of a folder, or of a zip archive, or the paths of the files; or http(s)
            addresses of such files.
        allow_unverified: take weights that are not proven to be the ones of the manifest. They are
            marked as unverified wherever the model is described.
        timeouts: when to give up on an address.
        put: puts a model's weights into the store, and to use where it is `ir.put_to_use`.
        tell: is told what a person may want to know, in sentences.

    Returns:
        The weights in the store.

    Raises:
        ImportRefusedError: if a source cannot be read, is unsafe, or is not the one of the
            manifest.
        ModelError: if what it holds is not the network of the manifest.
    """
    most = _largest(known, allow_unverified)
    with _local([[source] for source in given], known, most, timeouts or Timeouts()) as files:
        found, verdict = proving.examine(known, files, allow_unverified, tell)
    shown = proving.shown_of(files)
    if verdict.difference and not allow_unverified:
        if proving.has_digests(known):
            refused = f"{shown} is not the published {_expected(known)}"
        else:
            refused = f"{shown} cannot be verified"
        raise ImportRefusedError(
            f"{refused}: {verdict.difference}. If you trust it all the same, add "
            f"--allow-unverified; the model is then marked as unverified"
        )
    provenance = Provenance(verdict.origin, _source_of(files))
    return _put(store, known, found, provenance, put)


def install(
    store: Store,
    known: AnyManifest,
    given: Sequence[str] = (),
    *,
    accept_license: bool = False,
    allow_unverified: bool = False,
    timeouts: Timeouts | None = None,
    put: Put = Store.add,
    tell: Tell = lambda _: None,
) -> StoredWeights:
    """Fetch weights from where their manifest says that they are, and put them into the store.

    Args:
        store: where to.
        known: the manifest of the model or the detector.
        given: where to take them from instead, as for `import_weights`.
        accept_license: the terms of the weights are accepted.
        allow_unverified: take weights for which the manifest has no digest. Those that differ from
            a digest are always refused.
        timeouts: when to give up on an address.
        put: puts a model's weights into the store, and to use where it is `ir.put_to_use`.
        tell: is told what a person may want to know, in sentences.

    Returns:
        The weights in the store.

    Raises:
        LicenseError: if the terms have to be accepted, and are not.
        ImportRefusedError: if no address gives the weights.
        ModelError: if they cannot be used.
    """
    terms = known.license
    there = None if given else _installed(store, known)
    if there and (there.provenance.acceptance or not terms.must_be_accepted):
        tell(f"{known.name} is installed already")
        return there
    if terms.must_be_accepted and not accept_license:
        raise LicenseError(
            f"the weights of {known.name} come with terms that have to be accepted: {terms.name}. "
            f"{terms.terms} Stated at {terms.stated_at or 'no address'}. If you accept them, add "
            f"--accept-license"
        )
    if there:
        # It was imported, which asks for nothing.
        tell(f"{known.name} is installed already; its terms are accepted now")
        accepted = dataclasses.replace(there.provenance, acceptance=_acceptance(terms))
        return _put(store, known, _files_of(there, known), accepted, put)
    ways = [[[source] for source in given]] if given else _ways(known)
    if not ways:
        raise ImportRefusedError(f"no address is known for {known.name}.\n{_by_hand(known)}")
    failures: list[str] = []
    most = _largest(known, allow_unverified)
    may_differ = allow_unverified and not proving.has_digests(known)
    for way in ways:
        try:
            with _local(way, known, most, timeouts or Timeouts()) as files:
                found, verdict = proving.examine(known, files, may_differ, tell)
        except ImportRefusedError as error:
            failures.append(str(error))
            continue
        if verdict.refuted or (verdict.difference and not may_differ):
            known_digest = verdict.refuted or proving.has_digests(known)
            advice = "" if known_digest else "; if you trust it, add --allow-unverified"
            failures.append(f"{proving.shown_of(files)}: {verdict.difference}{advice}")
            continue
        provenance = Provenance(verdict.origin, _source_of(files), _acceptance(known.license))
        return _put(store, known, found, provenance, put)
    listed = "".join(f"\n  {line}" for failure in failures for line in failure.splitlines())
    raise ImportRefusedError(
        f"{known.name} was not installed, and the store is as it was:{listed}\n{_by_hand(known)}"
    )


def _installed(store: Store, known: AnyManifest) -> StoredWeights | None:
    """Return the weights of a manifest that are in use already, if they are proven and whole."""
    if not store.has(known.name):
        return None
    try:
        there = (
            store.get_detector(known.name)
            if isinstance(known, DetectorManifest)
            else store.get(known.name)
        )
        _files_of(there, known)
    except StoreError:
        return None
    # A user may have changed a manifest since.
    changed = isinstance(there, StoredModel) and there.manifest != known
    proven = there.provenance.origin in ("published", "corroborated")
    return there if proven and not changed else None


def _files_of(weights: StoredWeights, known: AnyManifest) -> dict[str, bytes]:
    folder = weights.checkpoint_folder
    return {part.name: sealed.read_file(folder, part.name) for part in PARTS[known.format]}


def _put(
    store: Store,
    known: AnyManifest,
    found: dict[str, bytes],
    provenance: Provenance,
    put: Put,
) -> StoredWeights:
    if isinstance(known, DetectorManifest):
        return store.add_detector(known, found, provenance)
    return put(store, known, found, provenance)


def _ways(known: AnyManifest) -> list[list[list[str]]]:
    """Return the ways to all of the weights, in the order to try: of each file its addresses."""
    ways = []
    if known.archive:
        ways += [[[address.url]] for address in known.archive.addresses]
    if known.files and all(file.addresses for file in known.files):
        ways.append([[address.url for address in file.addresses] for file in known.files])
    return ways


@contextlib.contextmanager
def _local(
    way: Sequence[Sequence[str]], known: AnyManifest, most: int, timeouts: Timeouts
) -> Iterator[list[LocalFile]]:
    """Have files, each at a path or at one of its addresses, on this machine in the block."""
    with contextlib.ExitStack() as stack:
        yield [_local_file(stack, each, known, most, timeouts) for each in way]


def _local_file(
    stack: contextlib.ExitStack,
    places: Sequence[str],
    known: AnyManifest,
    most: int,
    timeouts: Timeouts,
) -> LocalFile:
    """Return a file from the first of its places that gives it, kept until the stack ends."""
    failures = []
    for place in places:
        if not _is_address(place):
            return LocalFile(Path(place), Path(place).name, place)
        shown = fetching.shown(place)
        try:
            with contextlib.ExitStack() as attempt:
                path = attempt.enter_context(partial_downloads.partial(place))
                expected = _download_of(known, place)
                _fetch_verified(place, path, most, expected, timeouts)
                stack.enter_context(attempt.pop_all())
                name = expected.file if expected else fetching.name_of(place)
                return LocalFile(path, name, shown)
        except FetchError as error:
            failures.append(f"{shown} could not be downloaded: {error}")
    raise FetchError("\n".join(failures))


def _fetch_verified(
    url: str, path: Path, most: int, expected: Download | None, timeouts: Timeouts
) -> None:
    """Download a file; what was put together wrongly from two attempts is downloaded once more."""
    limit = (expected.size if expected else None) or most
    before = path.stat().st_size
    verifiable = expected is not None and expected.sha256 is not None
    if expected and verifiable and before == expected.size:
        # An earlier attempt had all of it, and failed with another file.
        if not proving.difference(expected, path):
            return
        partial_downloads.restart(path)
    fetching.fetch(url, path, limit, timeouts)
    if expected and verifiable and before and proving.difference(expected, path):
        partial_downloads.restart(path)
        fetching.fetch(url, path, limit, timeouts)
    if expected and verifiable and (difference := proving.difference(expected, path)):
        partial_downloads.restart(path)
        raise FetchError(difference)


def _largest(known: AnyManifest, may_differ: bool) -> int:
    """Return the most bytes that a file of the weights can have."""
    downloads = [*known.files, *([known.archive] if known.archive else [])]
    sizes = [download.size or MAX_DOWNLOAD_BYTES for download in downloads]
    return MAX_DOWNLOAD_BYTES if may_differ or not sizes else max(sizes)


def _download_of(known: AnyManifest, url: str) -> Download | None:
    """Return what the manifest knows of the file at one of its addresses."""
    downloads = [*known.files, *([known.archive] if known.archive else [])]
    for download in downloads:
        if url in [address.url for address in download.addresses]:
            return download
    return None


def _by_hand(known: AnyManifest) -> str:
    """Say how a person can get the weights without this program."""
    wanted = [*([known.archive] if known.archive else []), *known.files]
    lines = [
        f"  {download.file}"
        + (f", {download.size:,} bytes" if download.size else "")
        + (f", SHA-256 {download.sha256}" if download.sha256 else ", of unknown SHA-256")
        for download in wanted
    ]
    listed = "\n".join(["If you can get it elsewhere:", *lines, ""]) if lines else ""
    return f"{listed}Import a copy with 'face-embedding-server models import {known.name} PATH'"


def _expected(known: AnyManifest) -> str:
    return known.archive.file if known.archive else known.files[0].file if known.files else "model"


def _is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _source_of(files: Sequence[LocalFile]) -> str:
    return ", ".join(file.name for file in files)


def _acceptance(terms: License) -> Acceptance | None:
    """Return that terms were accepted now, if they have to be."""
    if not terms.must_be_accepted:
        return None
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Acceptance(f"{terms.name}: {terms.terms}", terms.stated_at, now)
