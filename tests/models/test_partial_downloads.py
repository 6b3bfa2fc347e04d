"""Where downloads wait until they are whole, how they leave the machine, and what they show."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from face_embedding_models.errors import FetchError, ImportRefusedError
from face_embedding_models.installing import fetching, partial_downloads
from face_embedding_models.installing.fetching import Timeouts
from support.hosts import Answer, Hosts

URL = "https://models.example/x"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def break_off(url: str = URL, data: bytes = b"a part") -> Path:
    """Leave a part of a download."""
    with pytest.raises(FetchError), partial_downloads.partial(url) as path:  # noqa: PT012
        path.write_bytes(data)
        raise FetchError
    return path


def test_whole_download(own_cache: Path) -> None:
    """Nothing is left of a download that was used."""
    with partial_downloads.partial(URL) as path:
        path.write_bytes(b"whole")
    assert files_in(own_cache) == []


def test_broken_download() -> None:
    """A download that broke off is there for the next attempt."""
    break_off()
    with partial_downloads.partial(URL) as path:
        assert path.read_bytes() == b"a part"


def test_interrupted_download() -> None:
    """So is one that somebody interrupted."""
    with pytest.raises(KeyboardInterrupt), partial_downloads.partial(URL) as path:  # noqa: PT012
        path.write_bytes(b"a part")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"a part"


def test_refused_download(own_cache: Path) -> None:
    """What was received, and then refused, is not kept."""
    with pytest.raises(ImportRefusedError), partial_downloads.partial(URL) as path:  # noqa: PT012
        path.write_bytes(b"wrong")
        raise ImportRefusedError
    assert files_in(own_cache) == []


def test_nothing_received(own_cache: Path) -> None:
    """Nothing is kept of an attempt that received nothing."""
    break_off(data=b"")
    assert files_in(own_cache) == []


def test_other_address() -> None:
    """What one address gave is not continued from another one."""
    break_off()
    with partial_downloads.partial(URL + "?v=2") as path:
        assert path.read_bytes() == b""


def test_second_at_once() -> None:
    """Who downloads the same at the same time has a file of their own."""
    with partial_downloads.partial(URL) as first, partial_downloads.partial(URL) as second:
        assert first != second


def test_second_leaves_the_first_alone(own_cache: Path) -> None:
    """That file is gone afterwards, and the first one is not, though both break off."""
    with partial_downloads.partial(URL) as first:
        first.write_bytes(b"first")
        assert not break_off().exists()
        assert files_in(own_cache) == [first.name]


def test_discarded_before_it_was_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its owner discards after it was opened, and before it is locked, is not used."""
    flock, times = fcntl.flock, iter((True, False))

    def discard_and_lock(descriptor: int, how: int) -> None:
        if next(times, False):
            Path(f"/proc/self/fd/{descriptor}").readlink().unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", discard_and_lock)
    with partial_downloads.partial(URL) as path:
        assert path.exists()


@pytest.mark.parametrize("place", ["file", "file/cache"])
def test_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    """Where no cache can be written, the download is in the system's temporary folder."""
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with partial_downloads.partial(URL) as path:
        assert path.parent == tmp_path / "temporary"
    assert files_in(tmp_path / "temporary") == []


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be written, that is said."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"neither .* nor .* can be written"):
        partial_downloads.partial(URL).__enter__()


def test_abandoned_download(own_cache: Path) -> None:
    """What nobody came back for within a day is removed, with its note."""
    left = break_off()
    left.with_suffix(".json").touch()
    os.utime(left, (0, 0))
    with partial_downloads.partial(URL + "y"):
        assert len(files_in(own_cache)) == 1


def test_recent_download(own_cache: Path) -> None:
    """What was left within the last day stays."""
    left = break_off()
    with partial_downloads.partial(URL + "y"):
        assert left.name in files_in(own_cache)


def test_files_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's temporary folder is everybody's, and nothing is swept there."""
    theirs = tmp_path / "theirs.part"
    theirs.touch()
    os.utime(theirs, (0, 0))
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with partial_downloads.partial(URL):
        assert theirs.exists()


def fetch(url: str, folder: Path, limit: int = 100) -> bytes:
    target = folder / "x.part"
    target.touch()
    fetching.fetch(url, target, limit, Timeouts(5, 0.3))
    return target.read_bytes()


def test_proxy(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is asked for the whole address."""
    monkeypatch.setenv("HTTP_PROXY", hosts.root)
    monkeypatch.setenv("http_proxy", hosts.root)
    hosts.answers["http://models.example/x"] = Answer(b"body")
    assert fetch("http://models.example/x", tmp_path) == b"body"


def test_no_proxy(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that the environment excepts is asked itself."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch(hosts.url("/x", Answer(b"body")), tmp_path) == b"body"


def test_dead_proxy(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be reached is told from a host that cannot."""
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    with pytest.raises(FetchError, match="the proxy did not let it through") as caught:
        fetch(hosts.url("/x"), tmp_path)
    assert "secret" not in str(caught.value)


SECRETS: dict[str, tuple[str, Answer]] = {
    "missing": ("/x?token=secret", Answer(status=404)),
    "silent": ("/x?token=secret", Answer(stall=0)),
    "large": ("/x?token=secret", Answer(b"x" * 200)),
    "no-path": ("/?token=secret", Answer(b"x" * 50)),
    "cut": ("/x?token=secret", Answer(b"x" * 50, headers={"Content-Length": "90"})),
    "away": ("/x", Answer(status=302, headers={"Location": "http://127.0.0.1:1/?token=secret"})),
    "broken": ("/x", Answer(status=302, headers={"Location": "http://[secret/?token=secret"})),
    "other": ("/x", Answer(status=302, headers={"Location": "ftp://h/?token=secret"})),
}


@pytest.mark.parametrize(("path", "answer"), SECRETS.values(), ids=SECRETS)
def test_secret(hosts: Hosts, tmp_path: Path, capsys: Any, path: str, answer: Answer) -> None:
    """What may be secret in an address is neither in messages nor in the progress bar."""
    hosts.url(path.partition("?")[0], answer)
    told = ""
    try:
        fetch(hosts.url(path).replace("//", "//user:secret@"), tmp_path)
    except FetchError as error:
        told = str(error)
    assert "secret" not in told + capsys.readouterr().err


SHOWN = {
    "https://u:secret@host/a/b?q=secret#secret": "https://host/a/b",
    "http://host?q=secret/x@y": "http://host",
    "http://u:sec@ret@host/x@y": "http://host/x@y",
    "http://[broken?secret": "http://[broken",
}


@pytest.mark.parametrize(("url", "shown"), SHOWN.items())
def test_shown_address(url: str, shown: str) -> None:
    """An address is shown without its query and without who asks, also if it is none."""
    assert fetching.shown(url) == shown


def test_name() -> None:
    """A file is called as the end of its path, or as its host."""
    names = [fetching.name_of(f"http://u@host{path}?q=/y") for path in ("/a/x.zip", "/", "")]
    assert names == ["x.zip", "host", "host"]
