"""Importing weights from folders, archives and addresses."""

import dataclasses
import hashlib
import io
import os
import struct
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from face_embedding_models import bounds, manifest
from face_embedding_models.errors import CheckpointError, ImportRefusedError
from face_embedding_models.installing import importing, sources
from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store
from face_embedding_models.store.stored import StoredModel

KNOWN = manifest.load("face-recognition-mobilefacenet-arcface")
NODES = (Node("null", "data"), Node("null", "w"), Node("_plus", "fc1", (0, 1)))
SYMBOL = symbol.dump(Symbol(NODES, (2,)))
PARAMS = params.dump({"arg:w": np.ones(3, np.float32)})
FILES = {"amf/model-symbol.json": SYMBOL, "amf/model-0000.params": PARAMS}
LINK_MODE = 0o120777 << 16


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], by: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", by) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def holding(name: str) -> bytes:
    """Return an archive of the checkpoint and of one file more."""
    return zipped(*FILES.items(), (name, b"x"))


def with_link() -> bytes:
    entry = zipfile.ZipInfo("link-symbol.json")
    entry.external_attr = LINK_MODE
    return zipped(*FILES.items(), (entry, b"/etc/passwd"))


def with_duplicate() -> bytes:
    """Return an archive with an entry twice; the name is patched in, as zipfile warns of it."""
    return holding("amf/model-symbol.jsoX").replace(b"jsoX", b"json")


def corrupt() -> bytes:
    """Return an archive whose compressed data is not what the directory says."""
    good = zipped(*FILES.items())
    start = 30 + len("amf/model-symbol.json")
    return good[:start] + b"\xff" * 20 + good[start + 20 :]


def by_lzma() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def lying() -> bytes:
    """Return an archive that says ten bytes of an entry that has far more."""
    packed = bytearray(zipped(("a-symbol.json", bytes(40 << 20)), ("a-0000.params", PARAMS)))
    directory = packed.index(b"PK\1\2")
    packed[directory + 24 : directory + 28] = packed[22:26] = struct.pack("<I", 10)
    return bytes(packed)


GOOD = zipped(*FILES.items())


def published_as(archive: bytes, size: int | None = None) -> Manifest:
    """Return the manifest as if this archive were the published one."""
    digest = hashlib.sha256(archive).hexdigest()
    assert KNOWN.archive
    published = dataclasses.replace(
        KNOWN.archive, size=size or len(archive), sha256=digest, addresses=()
    )
    return dataclasses.replace(KNOWN, archive=published)


def take(store: Store, known: Manifest, source: str, **options: bool) -> StoredModel:
    """Import a source that is taken."""
    taken = importing.import_weights(store, known, [source], **options)
    assert isinstance(taken, StoredModel)
    return taken


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def expect_refusal(
    store: Store,
    known: Manifest,
    source: str,
    message: str,
    kind: type[Exception] = ImportRefusedError,
    *,
    allow_unverified: bool = True,
) -> None:
    """Expect an import to be refused, and the store to hold nothing after it."""
    with pytest.raises(kind, match=message):
        importing.import_weights(store, known, [source], allow_unverified=allow_unverified)
    assert not list(store.root.rglob("*"))


def in_file(tmp_path: Path, data: bytes) -> str:
    (tmp_path / "model.zip").write_bytes(data)
    return str(tmp_path / "model.zip")


def in_folder(tmp_path: Path, *names: str) -> str:
    for name in names:
        data = SYMBOL if name.endswith("json") else PARAMS
        (tmp_path / name).write_bytes(data)
    return str(tmp_path)


@pytest.mark.parametrize("size", [len(GOOD), None], ids=["size-known", "size-unknown"])
def test_published(store: Store, tmp_path: Path, size: int | None) -> None:
    """An archive of the published size and SHA-256 counts as published."""
    known = published_as(GOOD)
    assert known.archive
    known = dataclasses.replace(known, archive=dataclasses.replace(known.archive, size=size))
    model = take(store, known, in_file(tmp_path, GOOD))
    assert (model.origin, model.source) == ("published", "model.zip")


def test_content(store: Store, tmp_path: Path) -> None:
    """The store has the bytes that the archive holds."""
    model = take(store, published_as(GOOD), in_file(tmp_path, GOOD))
    assert model.read_checkpoint_files() == (SYMBOL, PARAMS)


DIFFERENT = {
    "size": (published_as(GOOD, 5), rf"it has {len(GOOD):,} bytes, not 5\. If you trust it"),
    "sha": (published_as(GOOD[::-1]), r"its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}\. If"),
}


@pytest.mark.parametrize(("known", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_archive(store: Store, tmp_path: Path, known: Manifest, message: str) -> None:
    """An archive that is not the published one is refused with the difference."""
    source = in_file(tmp_path, GOOD)
    expect_refusal(store, known, source, message, allow_unverified=False)


@pytest.mark.parametrize("known", [known for known, _ in DIFFERENT.values()], ids=DIFFERENT)
def test_allowed_archive(store: Store, tmp_path: Path, known: Manifest) -> None:
    """An archive that is not the published one can be taken, as unverified."""
    source = in_file(tmp_path, GOOD)
    assert take(store, known, source, allow_unverified=True).origin == "unverified"


def test_folder(store: Store, tmp_path: Path) -> None:
    """A folder with a checkpoint can be taken, as unverified."""
    source = in_folder(tmp_path, "a-symbol.json", "a-0000.params")
    assert take(store, KNOWN, source, allow_unverified=True).origin == "unverified"


FOLDERS = {
    "two": (
        ("a-symbol.json", "b-symbol.json", "a-0000.params"),
        r"holds 2 files \*-symbol.json, not one: a-symbol",
    ),
    "none": ((), r"holds 0 files \*-0000.params, not one$"),
    "no-symbol": (("a-0000.params",), r"holds 0 files \*-symbol.json, not one$"),
    "no-params": (("a-symbol.json",), r"holds 0 files \*-0000.params, not one$"),
}


@pytest.mark.parametrize(("names", "message"), FOLDERS.values(), ids=FOLDERS)
def test_wrong_folder(store: Store, tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    """A folder is refused unless it holds one file of each kind."""
    expect_refusal(store, KNOWN, in_folder(tmp_path, *names), message)


def test_unverified_folder(store: Store, tmp_path: Path) -> None:
    """A folder is not proven to be the published archive."""
    source = in_folder(tmp_path, "a-symbol.json", "a-0000.params")
    message = "the manifest has no digest of these files, only of the archive"
    expect_refusal(store, KNOWN, source, message, allow_unverified=False)


def test_folder_in_place_of_file(store: Store, tmp_path: Path) -> None:
    """A folder called like a checkpoint's file is refused."""
    (tmp_path / "a-symbol.json").mkdir()
    expect_refusal(store, KNOWN, in_folder(tmp_path, "a-0000.params"), "a-symbol.json")


IRREGULAR: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", IRREGULAR.values(), ids=IRREGULAR)
def test_irregular_file(store: Store, tmp_path: Path, make: Callable[[Path], object]) -> None:
    """What is no file, and would be endless or never answer, is refused in a folder."""
    make(tmp_path / "a-symbol.json")
    source = in_folder(tmp_path, "a-0000.params")
    expect_refusal(store, KNOWN, source, r"a-symbol\.json cannot be read: ")


def test_missing_path(store: Store, tmp_path: Path) -> None:
    """A path that does not exist is refused."""
    expect_refusal(store, KNOWN, str(tmp_path / "x.zip"), r"x\.zip is neither a folder")


UNSAFE: dict[str, tuple[bytes, str]] = {
    "parent": (holding("../x"), r"the entry '\.\./x' leaves the folder"),
    "parent-inside": (holding("amf/../../x"), "leaves the folder"),
    "absolute": (holding("/x"), "the entry '/x' leaves the folder"),
    "backslash": (holding("..\\x"), r"the entry '\.\.\\x' leaves the folder"),
    "drive": (holding("C:\\x"), "leaves the folder"),
    "link": (with_link(), r"the entry 'link-symbol\.json' is a link"),
    "duplicate": (with_duplicate(), r"holds the entry 'amf/model-symbol\.json' 2 times"),
    "two-symbols": (holding("b-symbol.json"), r"holds 2 files \*-symbol.json, not one: amf/mod"),
    "no-symbol": (zipped(("a-0000.params", PARAMS)), r"holds 0 files \*-symbol.json, not one"),
    "empty": (zipped(), r"holds 0 files \*-0000.params, not one"),
    "junk": (b"PK" * 50, "is not a readable zip archive: File is not a zip file"),
    "cut": (GOOD[:-30], "is not a readable zip archive: "),
    "corrupt": (corrupt(), "is not a readable zip archive: "),
    "crc": (GOOD.replace(struct.pack("<I", zlib.crc32(PARAMS)), b"\0" * 4), "Bad CRC-32"),
    "lzma": (by_lzma(), "is packed in another way than by deflating; pack it again"),
    "size": (lying(), "is not a readable zip archive: Bad CRC-32"),
    "ratio": (
        zipped(("a-symbol.json", SYMBOL), ("a-0000.params", bytes(40 << 20))),
        r"the entry 'a-0000\.params' unpacks to more than 16,777,216 bytes, from 40,",
    ),
    "symbol": (
        zipped(
            ("a-symbol.json", bytes(bounds.MAX_SYMBOL_BYTES + 1)),
            ("a-0000.params", PARAMS),
            by=zipfile.ZIP_STORED,
        ),
        r"the entry 'a-symbol\.json' unpacks to more than 8,388,608 bytes, from 8,388,609",
    ),
    "entries": (
        zipped(*((f"{number:0>200}", b"") for number in range(5000))),
        "is not a readable zip archive: its list of entries has more than 1,048,576 bytes",
    ),
    "nothing": (b"", "is not a readable zip archive: "),
}


@pytest.mark.parametrize(("data", "message"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_archive(store: Store, tmp_path: Path, data: bytes, message: str) -> None:
    """An archive that is damaged or tries to leave its folder is refused."""
    expect_refusal(store, KNOWN, in_file(tmp_path, data), message)


def test_unsafe_published_archive(store: Store, tmp_path: Path) -> None:
    """An archive with the published SHA-256 is checked all the same."""
    data = holding("../x")
    expect_refusal(store, published_as(data), in_file(tmp_path, data), "leaves the folder")


def test_too_many_entries(store: Store, tmp_path: Path) -> None:
    """An archive of very many files is refused before any is unpacked."""
    data = zipped(*((f"{number}", b"") for number in range(sources.MAX_ARCHIVE_ENTRIES + 1)))
    expect_refusal(store, KNOWN, in_file(tmp_path, data), "has 1001 entries, at most 1000")


def test_unpack_limit(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that would become too large is refused before anything is unpacked."""
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", 1 << 20)
    data = zipped(*FILES.items(), ("zeros", bytes(1 << 20)))
    expect_refusal(store, KNOWN, in_file(tmp_path, data), "would unpack to 1,0.* at most 1,048,576")


def test_large_symbol_in_a_folder(store: Store, tmp_path: Path) -> None:
    """A symbol file that no network needs is refused unread."""
    (tmp_path / "model-0000.params").write_bytes(PARAMS)
    with (tmp_path / "model-symbol.json").open("wb") as file:
        file.truncate(bounds.MAX_SYMBOL_BYTES + 1)
    expect_refusal(
        store, KNOWN, str(tmp_path), "symbol.json cannot be read: .* more than 8,388,608"
    )


def test_memory(tmp_path: Path) -> None:
    """Unpacking needs hardly more memory than what is unpacked has."""
    size = 32 << 20
    entries = ("a-0000.params", bytes(size)), ("a-symbol.json", SYMBOL)
    source = in_file(tmp_path, zipped(*entries, by=zipfile.ZIP_STORED))
    tracemalloc.start()
    sources.read_archive(KNOWN, Path(source), source)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.25 * size


@pytest.mark.parametrize("name", FILES)
def test_not_a_checkpoint(store: Store, tmp_path: Path, name: str) -> None:
    """A published archive whose files are no checkpoint is refused."""
    data = zipped(*{**FILES, name: b"x" * 30}.items())
    source, known = in_file(tmp_path, data), published_as(data)
    with pytest.raises(CheckpointError, match=r"is not JSON|not an MXNet"):
        importing.import_weights(store, known, [source], put=ir.put_to_use)
    assert not list(store.root.rglob("*"))


@dataclass
class Site:
    """A web server's address, and what it answers with."""

    address: str
    status: int = 200
    body: bytes = GOOD
    length: str | None = str(len(GOOD))


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer.status)
            if answer.length is not None:
                self.send_header("Content-Length", answer.length)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answer = Site(f"http://127.0.0.1:{server.server_port}/files/model.zip")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answer
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("length", [str(len(GOOD)), None], ids=["length", "no-length"])
def test_download(store: Store, site: Site, length: str | None) -> None:
    """An archive is imported from its address, whether its length is announced or not."""
    site.length = length
    model = take(store, published_as(GOOD), site.address)
    assert (model.origin, model.source) == ("published", "model.zip")


ANSWERS: dict[str, tuple[dict[str, object], str]] = {
    "not-found": ({"status": 404}, "could not be downloaded: it answered 404 Not Found"),
    "failure": ({"status": 503}, "could not be downloaded: it answered 503 Service Unavailable"),
    "cut": ({"body": GOOD[:100]}, "could not be downloaded: .*IncompleteRead"),
    "long": ({"body": GOOD * 2, "length": None}, f"has more than {len(GOOD):,} bytes"),
    "length": ({"length": "many", "body": GOOD * 2}, f"has more than {len(GOOD):,} bytes"),
}


@pytest.mark.parametrize(("answer", "message"), ANSWERS.values(), ids=ANSWERS)
def test_failed_download(store: Store, site: Site, answer: dict[str, object], message: str) -> None:
    """A download that fails or grows too large is refused."""
    for name, value in answer.items():
        setattr(site, name, value)
    expect_refusal(store, published_as(GOOD), site.address, message, allow_unverified=False)


def test_no_server(store: Store) -> None:
    """An address that nobody serves is refused."""
    address = "http://127.0.0.1:1/model.zip"
    expect_refusal(store, KNOWN, address, "could not be downloaded: .*Connection refused")
