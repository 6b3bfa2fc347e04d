"""Downloading a file over http(s).

A download that broke off goes on where it stopped, if the server lets it; what was received so far
waits in the user's cache, outside the store. The usual environment variables name proxies
(`HTTPS_PROXY`, `NO_PROXY`) and authorities (`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`,
`SSL_CERT_FILE`).
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests
import urllib3
from tqdm import tqdm

from face_embedding_models import regular_files
from face_embedding_models.errors import FetchError
from face_embedding_models.installing.partial_downloads import note_of, restart, size_of

# Of a transfer that breaks off, less than this is lost.
_CHUNK_BYTES = 1 << 14
# Each has to bring something, or it is the last.
_ATTEMPTS = 8


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds: for a connection, and for the next bytes."""

    connect_s: float = 10
    silence_s: float = 30


# Of a part of a file: where it begins, and how much the whole has. More digits are no size.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)")
_LENGTH = re.compile(r"[0-9]{1,15}")


class _BrokenOffError(Exception):
    """A transfer ended before its end."""


class _TooLargeError(Exception):
    """A file has more bytes than are taken."""


class _Session(requests.Session):
    """Follows redirects, but to nowhere that is easier to listen in on."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10
        # What OpenSSL's programs honour; requests has variables of its own, which come first.
        self.verify = os.environ.get("SSL_CERT_FILE") or True

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target:
            resp.close()  # Or its body would be read, however long.
            absolute = urljoin(resp.url, target)
            if resp.url.startswith("https:") and not absolute.startswith("https:"):
                raise FetchError(f"it redirects from https to {shown(absolute)}, which is refused")
        return target


def fetch(url: str, target: Path, max_bytes: int, timeouts: Timeouts) -> None:
    """Download a file, going on with what `target` holds of it.

    Args:
        url: the http(s) address.
        target: the file to write, made by `partial_downloads.partial`.
        max_bytes: the most that are taken; more is an error.
        timeouts: when to give up.

    Raises:
        FetchError: if the address does not give the file; the message says why, without the
            address. `target` then holds what was received.
    """
    with _Session() as session:
        for _ in range(_ATTEMPTS):
            before = size_of(target)
            try:
                _receive(session, url, target, max_bytes, timeouts)
                return
            except _BrokenOffError as error:
                if size_of(target) == before:
                    raise FetchError(str(error)) from error
                reason = error
            except _TooLargeError as error:
                restart(target)
                raise FetchError(f"it has more than {max_bytes:,} bytes") from error
            except OSError as error:
                raise FetchError(f"it cannot be written to {target.parent}: {error}") from error
        raise FetchError(f"it broke off {_ATTEMPTS} times: {reason}")


def shown(url: str) -> str:
    """Return an address without its query, which may hold a secret, and without a password.

    Of an address that is none too.
    """
    scheme, _, rest = re.split(r"[?#]", url)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def name_of(url: str) -> str:
    """Return what the file at an address is called: the end of its path, or else its host."""
    return shown(url).rstrip("/").rpartition("/")[2]


def _receive(
    session: requests.Session, url: str, target: Path, max_bytes: int, timeouts: Timeouts
) -> None:
    offset, validator = _state(target, url)
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with _get(session, url, headers, timeouts) as response:
        if offset and response.status_code == requests.codes.requested_range_not_satisfiable:
            restart(target)
            raise _BrokenOffError("it does not have the rest of what was received before")
        if not response.ok:
            raise FetchError(f"it answered {response.status_code} {response.reason}")
        try:
            start, total = _part(response, offset, validator)
        except _BrokenOffError:
            restart(target)
            raise
        if total is not None and total > max_bytes:
            raise _TooLargeError
        with (
            target.open("r+b") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name_of(url)) as bar,
        ):
            file.truncate(start)
            file.seek(start)
            if not start:
                _remember(target, url, response)
            for chunk in _chunks(response, timeouts):
                if file.tell() + len(chunk) > max_bytes:
                    raise _TooLargeError
                file.write(chunk)
                bar.update(len(chunk))
            if total is not None and file.tell() < total:
                raise _BrokenOffError(f"it ended after {file.tell():,} of {total:,} bytes")


def _get(
    session: requests.Session, url: str, headers: dict[str, str], timeouts: Timeouts
) -> requests.Response:
    waits = (timeouts.connect_s, timeouts.silence_s)
    try:
        return session.get(url, headers=headers, stream=True, timeout=waits)
    except requests.RequestException as error:
        raise FetchError(_reason(error, timeouts)) from error
    except OSError as error:  # Of the file of authorities that the user names.
        raise FetchError(str(error)) from error
    except ValueError as error:
        raise FetchError("it redirects to what is no address") from error


def _part(response: requests.Response, offset: int, validator: str) -> tuple[int, int | None]:
    """Return where in the file an answer begins, and the size of the whole, where it is told."""
    if response.status_code != requests.codes.partial_content:
        length = response.headers.get("Content-Length", "")
        known = _LENGTH.fullmatch(length) and not _is_encoded(response)
        return 0, int(length) if known else None
    told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not told or int(told[1]) != offset or _is_encoded(response):
        raise _BrokenOffError("it answered with another part than the one asked for")
    if offset and _validator(response) not in ("", validator):
        raise _BrokenOffError("it answered with a part of another file")
    return offset, None if told[2] == "*" else int(told[2])


def _is_encoded(response: requests.Response) -> bool:
    """Tell whether the bytes that are sent are not those of the file."""
    return response.headers.get("Content-Encoding", "identity") != "identity"


def _chunks(response: requests.Response, timeouts: Timeouts) -> Iterator[bytes]:
    """Yield what comes, also what came before the transfer broke off."""
    try:
        yield from response.raw.stream(_CHUNK_BYTES, decode_content=True)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _BrokenOffError(_reason(error, timeouts)) from error


def _state(target: Path, url: str) -> tuple[int, str]:
    """Return how much there is of a file, and what tells that it is still the same file."""
    try:
        note = json.loads(regular_files.read(note_of(target)))
        known, validator = note["url"], note["validator"]
        # It becomes a header, whatever the file says.
        if known == url and isinstance(validator, str):
            sendable = validator.isascii() and validator.isprintable()
            return (size_of(target), validator) if sendable else (0, "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return 0, ""


def _remember(target: Path, url: str, response: requests.Response) -> None:
    """Note what tells a later attempt whether the file is still the same."""
    validator = _validator(response)
    # Offsets are in what is sent.
    resumable = response.headers.get("Accept-Ranges") != "none" and not _is_encoded(response)
    if validator and resumable:
        note_of(target).write_text(json.dumps({"url": url, "validator": validator}), "utf-8")
    else:
        note_of(target).unlink(missing_ok=True)


def _validator(response: requests.Response) -> str:
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _reason(error: Exception, timeouts: Timeouts) -> str:
    """Say what went wrong, without the address, whose query may hold a secret."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause
    kinds: list[tuple[type[Exception], str]] = [
        (requests.ConnectTimeout, f"no connection within {timeouts.connect_s:g} s"),
        (requests.ReadTimeout, f"nothing came for {timeouts.silence_s:g} s"),
        (urllib3.exceptions.ReadTimeoutError, f"nothing came for {timeouts.silence_s:g} s"),
        (requests.TooManyRedirects, "it redirects again and again"),
        (requests.exceptions.InvalidURL, "that is no address"),
        (requests.exceptions.InvalidSchema, "it redirects to what is neither http nor https"),
    ]
    for kind, text in kinds:
        if isinstance(error, kind) or isinstance(cause, kind):
            return text
    text = re.sub(r"\burl: \S+", "url", str(cause))
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate is not trusted: {text}"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy did not let it through: {text}"
    return text
