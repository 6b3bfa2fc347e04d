"""Certificates and access files that change while the server runs."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
import trustme

from face_embedding_client import FaceEmbeddingClient, NotPermittedError, RawFace, Tls
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import Identity, RunningServer, issue, running_server, small_settings

ROTATIONS = 10
CALLERS = 4


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def identity(tmp_path: Path, authority: trustme.CA) -> Identity:
    """The files that the server was told."""
    return issue(tmp_path / "served", authority, "localhost")


@pytest.fixture
def tls_server(store: Store, identity: Identity) -> Iterator[RunningServer]:
    with running_server(small_settings(store, **identity.settings())) as running:
        yield running


def served_certificate(running: RunningServer) -> str:
    return ssl.get_server_certificate(("localhost", running.server.port))


def first_certificate(identity: Identity) -> str:
    text = identity.certificate.read_text()
    return text[: text.index("-----END") + len("-----END CERTIFICATE-----\n")]


def client_of(
    running: RunningServer, authority: trustme.CA, token: str = ""
) -> FaceEmbeddingClient:
    address = f"localhost:{running.server.port}"
    tls = Tls(authority.cert_pem.bytes())
    return FaceEmbeddingClient(address, tls=tls, token=token, retries=0, timeout_s=30)


def test_rotation_under_load(
    tls_server: RunningServer,
    identity: Identity,
    authority: trustme.CA,
    faces: list[Face],
    tmp_path: Path,
) -> None:
    """A certificate is replaced again and again, and no call of any caller fails."""
    over, face = threading.Event(), RawFace(faces[0], "BGR")
    errors: list[Exception] = []
    calls = [0] * CALLERS

    def call(number: int) -> None:
        # One keeps its connection, the others connect anew for each call.
        with client_of(tls_server, authority) as kept:
            while not over.is_set():
                try:
                    if number == 0:
                        kept.embed(face)
                    else:
                        with client_of(tls_server, authority) as client:
                            client.embed(face)
                except Exception as error:
                    errors.append(error)
                    return
                calls[number] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        for number in range(ROTATIONS):
            new = issue(tmp_path / str(number), authority, "localhost")
            # One file after the other, as in life: between the two they do not fit.
            identity.certificate.write_bytes(new.certificate.read_bytes())
            before = list(calls)
            served_certificate(tls_server)
            identity.key.write_bytes(new.key.read_bytes())
            assert served_certificate(tls_server) == first_certificate(new)
            # On until everyone has called since.
            while any(now == then for now, then in zip(calls, before, strict=True)):
                assert all(thread.is_alive() for thread in threads), errors
                served_certificate(tls_server)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.parametrize("fault", ["junk", "missing", "other key", "expired"])
def test_bad_rotation(
    fault: str, tls_server: RunningServer, identity: Identity, authority: trustme.CA, tmp_path: Path
) -> None:
    """Files that cannot be used are not: the old certificate stays, until they are mended."""
    before = first_certificate(identity)
    ago = datetime.now(timezone.utc) - timedelta(days=2)
    dates = {"not_before": ago - timedelta(days=1), "not_after": ago} if fault == "expired" else {}
    new = issue(tmp_path / "new", authority, "localhost", **dates)
    if fault == "missing":
        identity.certificate.unlink()
    else:
        text = b"junk" if fault == "junk" else new.certificate.read_bytes()
        identity.certificate.write_bytes(text)
        if fault == "expired":
            identity.key.write_bytes(new.key.read_bytes())
    assert served_certificate(tls_server) == before
    with client_of(tls_server, authority) as client:
        assert client.is_serving()
    good = issue(tmp_path / "good", authority, "localhost")
    identity.certificate.write_bytes(good.certificate.read_bytes())
    identity.key.write_bytes(good.key.read_bytes())
    assert served_certificate(tls_server) == first_certificate(good)


def test_swapped_link(store: Store, authority: trustme.CA, tmp_path: Path) -> None:
    """Kubernetes swaps a link to the folder of all files: the new certificate is in use then."""
    old, new = (issue(tmp_path / name, authority, "localhost") for name in ("old", "new"))
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(old.certificate.parent)
    identity = Identity(mounted / old.certificate.name, mounted / old.key.name)
    for file in (identity.certificate, identity.key):
        file.symlink_to(f"..data/{file.name}")
    with running_server(small_settings(store, **identity.settings())) as running:
        assert served_certificate(running) == first_certificate(old)
        (mounted / "..data_tmp").symlink_to(new.certificate.parent)
        (mounted / "..data_tmp").rename(mounted / "..data")
        assert served_certificate(running) == first_certificate(new)


def test_client_authority_rotates(
    store: Store, identity: Identity, authority: trustme.CA, tmp_path: Path
) -> None:
    """Clients of a new authority are let in once its certificate is in the file."""
    other = trustme.CA()
    trusted = tmp_path / "clients.pem"
    authority.cert_pem.write_to_path(trusted)
    own = issue(tmp_path / "own", other, "caller")
    tls = Tls(authority.cert_pem.bytes(), own.certificate.read_bytes(), own.key.read_bytes())
    settings = small_settings(store, tls_client_ca=trusted, **identity.settings())
    with running_server(settings) as running:
        address = f"localhost:{running.server.port}"
        with (
            FaceEmbeddingClient(address, tls=tls, retries=0) as client,
            pytest.raises(Exception, match=r"(?i)unavailable|handshake|closed|connect"),
        ):
            client.model_info()
        other.cert_pem.write_to_path(trusted, append=True)
        with FaceEmbeddingClient(address, tls=tls) as client:
            assert client.model_info().name


def tokens(*names: str) -> str:
    entries = ", ".join(
        f'{{ sha256 = "{hashlib.sha256(name.encode()).hexdigest()}" }}' for name in names
    )
    return f'[caller]\npermissions = ["info"]\ntokens = [{entries}]\n'


def test_access_file_rotates(
    store: Store, identity: Identity, authority: trustme.CA, tmp_path: Path
) -> None:
    """Tokens are taken and refused as the file says, and a damaged file changes nothing."""
    file = tmp_path / "access.toml"
    file.write_text(tokens("old"))
    settings = small_settings(store, access=file, **identity.settings())
    with (
        running_server(settings) as running,
        client_of(running, authority, "old") as old,
        client_of(running, authority, "new") as new,
    ):
        assert old.model_info()
        with pytest.raises(NotPermittedError):
            new.model_info()
        file.write_text(tokens("old", "new"))
        assert old.model_info()
        assert new.model_info()
        file.write_text("[caller")
        assert old.model_info()
        file.write_text(tokens("new"))
        assert new.model_info()
        with pytest.raises(NotPermittedError) as caught:
            old.model_info()
        assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
