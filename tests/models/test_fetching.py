"""Downloading over http(s), from a server of this machine's."""

import gzip
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from face_embedding_models.errors import FetchError
from face_embedding_models.installing import fetching, partial_downloads
from face_embedding_models.installing.fetching import Timeouts
from support.hosts import Answer, Hosts, redirect, serving

BODY = bytes(range(256)) * 400
OTHER = BODY[::-1]
CUT = len(BODY) // 2
ETAG = {"ETag": '"1"'}


PATIENT = Timeouts(connect_s=5, silence_s=60)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "x.part"
    path.touch()
    return path


def fetch(url: str, target: Path, limit: int = 1 << 20, timeouts: Timeouts = PATIENT) -> bytes:
    fetching.fetch(url, target, limit, timeouts)
    return target.read_bytes()


def fail(url: str, target: Path, message: str, limit: int = 1 << 20, **waits: float) -> str:
    with pytest.raises(FetchError, match=message) as caught:
        fetching.fetch(url, target, limit, replace(PATIENT, **waits))
    return str(caught.value)


def break_off(hosts: Hosts, answer: Answer, target: Path) -> str:
    """Receive half of a file."""
    url = hosts.url("/x", replace(answer, stall=CUT))
    fail(url, target, "nothing came for 0.3 s", silence_s=0.3)
    assert 0 < target.stat().st_size <= CUT
    hosts.answers["/x"] = answer
    hosts.requests.clear()
    return url


def test_file(hosts: Hosts, target: Path) -> None:
    """A file is received as it is."""
    assert fetch(hosts.url("/x", Answer(BODY)), target) == BODY


@pytest.mark.parametrize("headers", [ETAG, {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_going_on(hosts: Hosts, target: Path, headers: dict[str, str]) -> None:
    """A transfer that breaks off goes on with what is missing, if it is of the same file."""
    assert fetch(hosts.url("/x", Answer(BODY, headers=headers, cut=CUT)), target) == BODY
    asked = hosts.requests[1].headers
    assert re.fullmatch(r"bytes=[1-9]\d*-", asked["Range"])
    assert [asked["If-Range"]] == list(headers.values())


def test_going_on_later(hosts: Hosts, target: Path) -> None:
    """What one attempt received is where the next one goes on."""
    url = break_off(hosts, Answer(BODY, headers=ETAG), target)
    had = target.stat().st_size
    assert (fetch(url, target), hosts.ranges) == (BODY, [f"bytes={had}-"])


NO_VALIDATOR: dict[str, dict[str, str | None]] = {
    "none": {},
    "weak": {"ETag": 'W/"1"'},
    "no-ranges": {**ETAG, "Accept-Ranges": "none"},
}


@pytest.mark.parametrize("headers", NO_VALIDATOR.values(), ids=NO_VALIDATOR)
def test_anew(hosts: Hosts, target: Path, headers: dict[str, str | None]) -> None:
    """Without a strong validator, or without ranges, a broken transfer begins anew."""
    assert fetch(hosts.url("/x", Answer(BODY, headers=headers, cut=CUT)), target) == BODY
    assert hosts.ranges == [None, None]


ANEW = {
    "ignored": (Answer(BODY, ranges=False, headers=ETAG), 1),
    "changed": (Answer(OTHER, headers={"ETag": '"2"'}), 1),
    "shorter": (Answer(b"short", headers=ETAG), 2),
    "other-part": (Answer(BODY, 206, {**ETAG, "Content-Range": "bytes 5-9/10"}, ranges=False), 2),
    "no-part": (Answer(BODY, 206, ETAG, ranges=False), 2),
}


@pytest.mark.parametrize(("answer", "requests"), ANEW.values(), ids=ANEW)
def test_no_rest(hosts: Hosts, target: Path, answer: Answer, requests: int) -> None:
    """What was received is dropped where the rest is of another file, or not to be had."""
    url = break_off(hosts, Answer(BODY, headers=ETAG), target)
    hosts.answers["/x"] = answer
    if answer.status == 206:
        fail(url, target, "it answered with another part than the one asked for")
        assert target.read_bytes() == b""
    else:
        assert fetch(url, target) == answer.body
    assert len(hosts.requests) == requests


def test_part_of_another_file(hosts: Hosts, target: Path) -> None:
    """A part that says that it is of another file is not appended, whatever was asked."""
    url = break_off(hosts, Answer(BODY, headers=ETAG), target)
    had = target.stat().st_size
    size = len(BODY)
    part = {"ETag": '"2"', "Content-Range": f"bytes {had}-{size - 1}/{size}"}
    hosts.answers["/x"] = Answer(OTHER[had:], 206, part, ranges=False)
    fail(url, target, "it answered with another part")
    assert target.read_bytes() == b""


def test_part_that_ends_early(hosts: Hosts, target: Path) -> None:
    """A part that ends before the file does is not taken for the whole."""
    part = {"Content-Range": f"bytes 0-99/{len(BODY)}"}
    url = hosts.url("/x", Answer(BODY[:100], 206, part, ranges=False))
    fail(url, target, f"it ended after 100 of {len(BODY):,} bytes")


def test_encoded(hosts: Hosts, target: Path) -> None:
    """A file that is sent compressed is the one that is meant, and is never resumed."""
    headers = {**ETAG, "Content-Encoding": "gzip"}
    sent = gzip.compress(b"".join(str(number).encode() for number in range(50_000)))
    url = hosts.url("/x", Answer(sent, headers=headers, cut=len(sent) // 2))
    assert fetch(url, target) == gzip.decompress(sent)
    assert hosts.ranges == [None, None]


def test_cut_for_ever(hosts: Hosts, target: Path) -> None:
    """A server that always breaks off at the same place is given up."""
    headers = {"Content-Length": "1000"}
    fail(hosts.url("/x", Answer(b"abc", headers=headers)), target, "IncompleteRead")
    assert len(hosts.requests) <= 2


LENGTHS = {"shorter": ("5", BODY[:5]), "negative": ("-1", BODY), "words": ("many", BODY)}


@pytest.mark.parametrize(("length", "body"), LENGTHS.values(), ids=LENGTHS)
def test_wrong_length(hosts: Hosts, target: Path, length: str, body: bytes) -> None:
    """A length that is too small ends the file there, and one that is none is ignored."""
    assert fetch(hosts.url("/x", Answer(BODY, headers={"Content-Length": length})), target) == body


def test_length_of_too_many_digits(hosts: Hosts, target: Path) -> None:
    """A length with more digits than Python reads is none."""
    headers = {"Content-Length": "9" * 5000}
    assert fetch(hosts.url("/x", Answer(BODY, headers=headers)), target) == BODY


TOO_LARGE = {
    "announced": Answer(BODY, stall=0),
    "unannounced": Answer(BODY, headers={"Content-Length": None}),
    "endless": Answer(BODY, endless=True),
    "bomb": Answer(gzip.compress(bytes(1 << 24)), headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", TOO_LARGE.values(), ids=TOO_LARGE)
def test_size_limit(hosts: Hosts, target: Path, answer: Answer) -> None:
    """A file that is too large is given up as soon as that is known, and not kept."""
    fail(hosts.url("/x", answer), target, "it has more than 100,000 bytes", 100_000)
    assert target.read_bytes() == b""


def test_size_limit_going_on(hosts: Hosts, target: Path) -> None:
    """The limit is one of the whole file, also where a part of it is asked for."""
    url = break_off(hosts, Answer(BODY, headers=ETAG), target)
    fail(url, target, "it has more than 60,000 bytes", 60_000)


@pytest.mark.parametrize("answer", [Answer(stall=0), Answer(BODY, stall=0)], ids=["dumb", "head"])
def test_silence(hosts: Hosts, target: Path, answer: Answer) -> None:
    """A server from which nothing comes is given up after the time that is set."""
    fail(hosts.url("/x", answer), target, "nothing came for 0.2 s", silence_s=0.2)


def test_no_connection(target: Path) -> None:
    """A host that takes no connection is given up after the time that is set."""
    with socket.socket() as host, socket.socket() as first, socket.socket() as second:
        host.bind(("127.0.0.1", 0))
        host.listen(0)
        for other in (first, second):  # These are all that it can have wait.
            other.setblocking(False)
            other.connect_ex(host.getsockname())
        url = f"http://127.0.0.1:{host.getsockname()[1]}/x"
        fail(url, target, "no connection within 0.2 s", connect_s=0.2)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
def test_refusal(hosts: Hosts, target: Path, status: int) -> None:
    """An answer that is an error is given up, and its body not taken."""
    fail(hosts.url("/x", Answer(BODY, status)), target, f"it answered {status} ")
    assert target.read_bytes() == b""


def test_redirect(hosts: Hosts, target: Path) -> None:
    """A redirect is followed."""
    hosts.url("/there", Answer(BODY))
    assert fetch(hosts.url("/x", redirect("/there")), target) == BODY


def test_going_on_after_a_redirect(hosts: Hosts, target: Path) -> None:
    """The part that is missing is asked for behind a redirect too."""
    hosts.url("/there", Answer(BODY, headers=ETAG, cut=CUT))
    assert fetch(hosts.url("/x", redirect("/there")), target) == BODY
    assert hosts.ranges[3]


REDIRECTS = {
    "endless": ("/x", "it redirects again and again"),
    "file": ("file:///etc/passwd", "it redirects to what is neither http nor https"),
    "broken": ("http://[::1/x", "it redirects to what is no address|that is no address"),
}


@pytest.mark.parametrize(("place", "message"), REDIRECTS.values(), ids=REDIRECTS)
def test_wrong_redirect(hosts: Hosts, target: Path, place: str, message: str) -> None:
    """A redirect to nowhere is given up."""
    fail(hosts.url("/x", redirect(place)), target, message)


def test_endless_redirect_body(hosts: Hosts, target: Path) -> None:
    """What a redirect says besides is not read, as it may have no end."""
    hosts.url("/there", Answer(BODY))
    url = hosts.url("/x", replace(redirect("/there"), body=BODY, endless=True))
    assert fetch(url, target) == BODY


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure_hosts(authority: trustme.CA, hosts: Hosts) -> Iterator[Hosts]:
    """The same over https, under a certificate of an authority that nobody knows."""
    del hosts  # It has the environment cleaned.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with serving(context) as hosts:
        yield hosts


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_authority(
    secure_hosts: Hosts,
    authority: trustme.CA,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """An authority that the environment names is trusted."""
    file = target.with_name("authority.pem")
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv(variable, str(file))
    assert fetch(secure_hosts.url("/x", Answer(BODY)), target) == BODY


def test_unknown_authority(secure_hosts: Hosts, target: Path) -> None:
    """A certificate of an authority that nobody named is not trusted."""
    fail(secure_hosts.url("/x", Answer(BODY)), target, "its certificate is not trusted: ")
    assert secure_hosts.requests == []


def test_missing_authority(
    secure_hosts: Hosts, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of authorities that does not exist is named."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authority.pem")
    fail(secure_hosts.url("/x", Answer(BODY)), target, "/nowhere/authority.pem")


def test_redirect_from_https_to_http(
    secure_hosts: Hosts,
    hosts: Hosts,
    authority: trustme.CA,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A redirect from https to http is refused, and not followed."""
    file = target.with_name("authority.pem")
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    url = secure_hosts.url("/x", redirect(hosts.url("/there?token=secret", Answer(BODY))))
    text = fail(url, target, r"it redirects from https to http://127.*/there, which is refused")
    assert (hosts.requests, "secret" in text) == ([], False)


@pytest.mark.parametrize(
    "note",
    ["{", "[1]", "[" * 100_000, '{"url": "URL"}', '{"url": "URL", "validator": 1}',
     '{"url": "URL", "validator": "a\\nb"}', '{"url": "URL", "validator": "\\ud800"}'],
    ids=["no JSON", "list", "deep", "nothing", "number", "two lines", "half a character"],
)  # fmt: skip
def test_damaged_note(hosts: Hosts, target: Path, note: str) -> None:
    """By a damaged note of what came before nothing is gone on with; the file is fetched anew."""
    url = hosts.url("/x", Answer(BODY, headers=ETAG))
    target.write_bytes(BODY[:5])
    partial_downloads.note_of(target).write_text(note.replace("URL", url))
    assert (fetch(url, target), hosts.ranges) == (BODY, [None])
