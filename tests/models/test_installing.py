"""Installing weights from the addresses of a manifest."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import FetchError, ImportRefusedError, LicenseError
from face_embedding_models.formats import PARAMS_FILE, SYMBOL_FILE
from face_embedding_models.installing import importing
from face_embedding_models.installing.fetching import Timeouts
from face_embedding_models.manifest import AnyManifest, Manifest
from face_embedding_models.store import Store
from face_embedding_models.store.stored import StoredModel, StoredWeights
from support import MOBILE
from support.hosts import Answer, Hosts
from support.made_weights import SYMBOL, listed, model_of, params_of, sha256, zipped

PARAMS = params_of()
WRONG = params_of(2)
# Makes a file so large that it can break off.
PADDING = random.Random(0).randbytes(100_000)
QUICK = Timeouts(5, 0.3)


def archive_of(params: bytes = PARAMS) -> bytes:
    """Return an archive of a checkpoint."""
    return zipped({f"amf/{SYMBOL_FILE}": SYMBOL, f"amf/{PARAMS_FILE}": params, "x": PADDING})


ARCHIVE = archive_of()
ETAG = {"ETag": '"1"'}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def install(store: Store, known: AnyManifest, *given: str, **options: Any) -> StoredWeights:
    weights = importing.install(store, known, given, timeouts=QUICK, **options)
    store.use_version(known.name, weights.version)
    return weights


def tree(store: Store) -> dict[str, bytes]:
    """Return what a store holds, to the last file."""
    return {
        str(path): path.read_bytes() if path.is_file() else b"" for path in store.root.rglob("*")
    }


def fail(store: Store, known: AnyManifest, *given: str, **options: Any) -> str:
    """Expect an install to fail, and the store to be as it was; return what is told."""
    before = tree(store)
    with pytest.raises(ImportRefusedError) as caught:
        importing.install(store, known, given, timeouts=QUICK, **options)
    assert tree(store) == before
    return str(caught.value)


def with_archive(*urls: str, data: bytes = ARCHIVE, **changes: Any) -> Manifest:
    return model_of(archive=listed("model.zip", data, *urls, **changes))


def with_files(params: tuple[str, ...], symbol: tuple[str, ...], **changes: Any) -> Manifest:
    return model_of(
        listed(PARAMS_FILE, PARAMS, *params, **changes),
        listed(SYMBOL_FILE, SYMBOL, *symbol, **changes),
    )


def test_archive(store: Store, hosts: Hosts, own_cache: Path) -> None:
    """An archive with the digest of the manifest is published, and nothing is left beside it."""
    weights = install(store, with_archive(hosts.url("/m.zip", Answer(ARCHIVE))))
    assert (weights.origin, weights.source) == ("published", "model.zip")
    assert store.get(MOBILE).read_checkpoint_files() == (SYMBOL, PARAMS)
    assert list(own_cache.iterdir()) == []


def test_published_archive(store: Store, hosts: Hosts, test_data: Path) -> None:
    """The published MobileFaceNet is installed as such, from any address that has it."""
    data = (test_data / "models" / "model-y1.zip").read_bytes()
    url = hosts.url("/copy.zip", Answer(data, headers=ETAG, cut=1 << 20))
    weights = install(store, manifest.load(MOBILE), url, accept_license=True)
    assert (weights.origin, hosts.ranges[0], len(hosts.ranges)) == ("published", None, 2)


@pytest.mark.parametrize("proof", ["published", "corroborated"])
def test_proof(store: Store, hosts: Hosts, proof: str) -> None:
    """What the digest proves is what the weights are called."""
    url = hosts.url("/m.zip", Answer(ARCHIVE))
    assert install(store, with_archive(url, proof=proof)).origin == proof


BAD: dict[str, tuple[Answer, str]] = {
    "missing": (Answer(status=404), "could not be downloaded: it answered 404 Not Found"),
    "wrong": (Answer(ARCHIVE[::-1]), f"SHA-256 is {sha256(ARCHIVE[::-1])}, not {sha256(ARCHIVE)}"),
    "short": (Answer(b"<html>"), f"it has 6 bytes, not {len(ARCHIVE):,}"),
    "long": (Answer(ARCHIVE * 2), f"it has more than {len(ARCHIVE):,} bytes"),
    "silent": (Answer(stall=0), "nothing came for 0.3 s"),
    "cut": (Answer(ARCHIVE[:9], headers={"Content-Length": "99"}), "IncompleteRead"),
    "away": (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), "Connection refused"),
}


@pytest.mark.parametrize(("answer", "message"), BAD.values(), ids=BAD)
def test_failure(store: Store, hosts: Hosts, answer: Answer, message: str) -> None:
    """What happened at an address is told, and the store is as it was."""
    old = archive_of(params=WRONG)
    install(store, with_archive(hosts.url("/old.zip", Answer(old)), data=old))
    url = hosts.url("/m.zip", answer)
    text = fail(store, with_archive(url))
    assert f"  {url} could not be downloaded: " in text
    assert message in text


@pytest.mark.parametrize(("answer", "_"), BAD.values(), ids=BAD)
def test_next_address(store: Store, hosts: Hosts, answer: Answer, _: str) -> None:
    """Where one address fails, the next one is tried."""
    urls = hosts.url("/1.zip", answer), hosts.url("/2.zip", Answer(ARCHIVE))
    assert install(store, with_archive(*urls)).origin == "published"


def test_first_address(store: Store, hosts: Hosts) -> None:
    """Where one address does, no other one is asked."""
    urls = [hosts.url(f"/{number}.zip", Answer(ARCHIVE)) for number in range(3)]
    install(store, with_archive(*urls))
    assert [request.path for request in hosts.requests] == ["/0.zip"]


def test_each_failure(store: Store, hosts: Hosts) -> None:
    """All addresses are told with what happened, in the order in which they were tried."""
    urls = hosts.url("/1.zip"), hosts.url("/2.zip", Answer(status=503)), hosts.url("/3.zip?k=1")
    text = fail(store, with_archive(*urls))
    told = [line.split(" could not be downloaded: it answered ") for line in text.splitlines()[1:4]]
    shown = [hosts.url(path) for path in ("/1.zip", "/2.zip", "/3.zip")]
    reasons = ["404 Not Found", "503 Service Unavailable", "404 Not Found"]
    assert told == [[f"  {url}", why] for url, why in zip(shown, reasons, strict=True)]


def test_by_hand(store: Store, hosts: Hosts) -> None:
    """A failure tells what to look for elsewhere, and how to import it."""
    text = fail(store, with_archive(hosts.url("/m.zip")))
    assert f"model.zip, {len(ARCHIVE):,} bytes, SHA-256 {sha256(ARCHIVE)}\n" in text
    assert f"'face-embedding-server models import {MOBILE} PATH'" in text


def test_no_address(store: Store) -> None:
    """A model of which no address is known is told how to get by hand."""
    text = fail(store, with_archive())
    assert "no address is known" in text
    assert sha256(ARCHIVE) in text


@pytest.mark.parametrize("allow", [False, True])
def test_different_digest(store: Store, tmp_path: Path, allow: bool) -> None:
    """Weights with another digest are never installed, wherever they are."""
    other = tmp_path / "other.zip"
    other.write_bytes(ARCHIVE[::-1])
    text = fail(store, with_archive(), str(other), allow_unverified=allow)
    assert f"its SHA-256 is {sha256(other.read_bytes())}, not {sha256(ARCHIVE)}" in text


@pytest.mark.parametrize("allow", [False, True])
def test_different_file(store: Store, tmp_path: Path, allow: bool) -> None:
    """A file with another digest is refused, though nothing is known of the other one."""
    known = model_of(listed(PARAMS_FILE, PARAMS), listed(SYMBOL_FILE, SYMBOL, sha256=None))
    (tmp_path / PARAMS_FILE).write_bytes(WRONG)
    (tmp_path / SYMBOL_FILE).write_bytes(SYMBOL)
    given = [str(tmp_path / name) for name in (PARAMS_FILE, SYMBOL_FILE)]
    text = fail(store, known, *given, allow_unverified=allow)
    assert f"the SHA-256 of {PARAMS_FILE} is {sha256(WRONG)}, not {sha256(PARAMS)}" in text


def test_no_digest(store: Store, hosts: Hosts) -> None:
    """Weights of unknown digest are not installed, and it is told how they could be."""
    url = hosts.url("/m.zip", Answer(ARCHIVE))
    text = fail(store, with_archive(url, sha256=None))
    assert "no digest of it is known; if you trust it, add --allow-unverified" in text


def test_allowed_without_digest(store: Store, hosts: Hosts) -> None:
    """They can be allowed, and are called unverified."""
    url = hosts.url("/m.zip", Answer(ARCHIVE))
    weights = install(store, with_archive(url, sha256=None), allow_unverified=True)
    assert weights.origin == "unverified"


def test_files(store: Store, hosts: Hosts) -> None:
    """The files of a checkpoint are fetched one by one, whatever their addresses end with."""
    urls = hosts.url("/get?id=1", Answer(PARAMS)), hosts.url("/get/symbol", Answer(SYMBOL))
    hosts.url("/get", Answer(PARAMS))
    known = with_files((urls[0],), (urls[1],), proof="corroborated")
    assert install(store, known).origin == "corroborated"
    assert store.get(MOBILE).source == f"{PARAMS_FILE}, {SYMBOL_FILE}"


def test_addresses_of_files(store: Store, hosts: Hosts) -> None:
    """Each file is taken from the first of its own addresses that has it."""
    gone = hosts.url("/gone")
    params, symbol = hosts.url("/p", Answer(PARAMS)), hosts.url("/s", Answer(SYMBOL))
    assert install(store, with_files((gone, params), (symbol, gone))).origin == "published"


def test_missing_file(store: Store, hosts: Hosts) -> None:
    """A file that no address has is told with all of its addresses."""
    params = hosts.url("/p", Answer(PARAMS))
    text = fail(store, with_files((params,), (hosts.url("/gone/1"), hosts.url("/gone/2"))))
    assert (text.count("/gone/1 could"), text.count("/gone/2 could")) == (1, 1)


def test_file_of_an_earlier_attempt(store: Store, hosts: Hosts) -> None:
    """A file that was received whole by an attempt that failed is not fetched again."""
    known = with_files((hosts.url("/p", Answer(PARAMS)),), (hosts.url("/s"),))
    fail(store, known)
    hosts.url("/s", Answer(SYMBOL))
    hosts.requests.clear()
    install(store, known)
    assert [request.path for request in hosts.requests] == ["/s"]


def test_given_files(store: Store, hosts: Hosts, tmp_path: Path) -> None:
    """The files can be given one by one, as paths and addresses."""
    (tmp_path / "a-symbol.json").write_bytes(SYMBOL)
    url = hosts.url("/copy-0000.params", Answer(PARAMS))
    known = with_files((), (), proof="corroborated")
    assert install(store, known, url, str(tmp_path / "a-symbol.json")).origin == "corroborated"


def test_broken_off(store: Store, hosts: Hosts) -> None:
    """An install goes on with what an earlier one received."""
    url = hosts.url("/m.zip", Answer(ARCHIVE, headers=ETAG, stall=60_000))
    known = with_archive(url)
    fail(store, known)
    hosts.url("/m.zip", Answer(ARCHIVE, headers=ETAG))
    hosts.requests.clear()
    install(store, known)
    (asked,) = hosts.ranges
    assert asked is not None


def test_put_together_wrongly(store: Store, hosts: Hosts) -> None:
    """A host whose parts are of another file under the same name is asked for all of it again."""
    url = hosts.url("/m.zip", Answer(ARCHIVE[::-1], headers=ETAG, stall=60_000))
    known = with_archive(url)
    fail(store, known)
    hosts.url("/m.zip", Answer(ARCHIVE, headers=ETAG))
    assert install(store, known).origin == "published"


def test_terms(store: Store, hosts: Hosts) -> None:
    """Weights whose terms are not accepted are not asked for."""
    url = hosts.url("/m.zip", Answer(ARCHIVE))
    known = model_of(archive=listed("model.zip", ARCHIVE, url), accept=True)
    with pytest.raises(LicenseError, match=r"non-commercial\..*Stated at https.* --accept-license"):
        importing.install(store, known, [url])
    assert (hosts.requests, tree(store)) == ([], {})


def test_accepted_terms(store: Store, hosts: Hosts) -> None:
    """Which terms were accepted, and when, is kept with the weights."""
    url = hosts.url("/m.zip", Answer(ARCHIVE))
    known = model_of(archive=listed("model.zip", ARCHIVE, url), accept=True)
    install(store, known, accept_license=True)
    acceptance = store.get(MOBILE).provenance.acceptance
    assert acceptance
    assert acceptance.terms == f"{known.license.name}: {known.license.terms}"
    assert acceptance.at.endswith("+00:00")


def test_failed_preparation(store: Store, hosts: Hosts) -> None:
    """Weights that cannot be prepared leave the store as it was."""
    install(store, with_archive(hosts.url("/1.zip", Answer(ARCHIVE))))
    before, data = tree(store), archive_of(params=WRONG)

    def put(*weights: Any) -> StoredModel:
        def fail(_: StoredModel, __: Path) -> None:
            raise FetchError("no")

        return Store.add(*weights, fail)

    with pytest.raises(FetchError):
        install(store, with_archive(hosts.url("/2.zip", Answer(data)), data=data), put=put)
    assert tree(store) == before


def test_two_at_once(store: Store, hosts: Hosts) -> None:
    """Two installs of the same model at the same time both succeed, and the store is whole."""
    known = with_archive(hosts.url("/m.zip", Answer(ARCHIVE)))
    gate = threading.Barrier(4, timeout=10)

    def run(_: int) -> str:
        gate.wait()
        return install(store, known).origin

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == ["published"] * 4
    assert store.get(MOBILE).read_checkpoint_files() == (SYMBOL, PARAMS)
    assert not list(store.root.rglob(".pending*"))
