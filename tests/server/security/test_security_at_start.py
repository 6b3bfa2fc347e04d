"""What is unsafe or cannot be used is refused at start: access files, TLS files, addresses."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from face_embedding_models.store import Store
from face_embedding_server import settings
from face_embedding_server.security.access import Access, AccessError
from face_embedding_server.security.tls import TlsError
from face_embedding_server.settings import SettingsError
from support import issue, running_server, small_settings


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search = 1", "search"),
        ("[search]", "permissions"),
        ('[search]\npermissions = ["admin"]', "'embed', 'compare', 'decide', 'info' or 'debug'"),
        ('[search]\npermissions = []\ntokens = [{ sha256 = "abc" }]', "sha256"),
        ('[search]\npermissions = []\ntoken = ["abc"]', "search.token"),
        ("[search", "cannot be read"),
        ("", "names no caller"),
        (
            "".join(f'[{name}]\npermissions = []\ncertificates = ["x"]\n' for name in "ab"),
            "has twice: x",
        ),
        (
            f'[a]\npermissions = []\ntokens = [{{ sha256 = "{"0" * 64}", expires = 2027-01-01 }}]',
            "expires",
        ),
    ],
)
def test_access_file_is_checked(text: str, message: str, tmp_path: Path) -> None:
    """What is wrong in an access file is told at start, by the file's name."""
    file = tmp_path / "who.toml"
    file.write_text(text)
    with pytest.raises(AccessError, match=r"who\.toml") as caught:
        Access(file, takes_tokens=True, takes_certificates=True)
    assert message in str(caught.value)


def test_certificates_need_an_authority(
    store: Store, authority: trustme.CA, tmp_path: Path
) -> None:
    """Names of certificates mean nothing where clients show none."""
    file = tmp_path / "who.toml"
    file.write_text('[a]\npermissions = ["info"]\ncertificates = ["a.example.org"]')
    made = issue(tmp_path, authority, "localhost")
    chosen = small_settings(store, access=file, **made.settings())
    with pytest.raises(AccessError, match="tls_client_ca"), running_server(chosen):
        pass


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "127.evil.example:0", "192.0.2.1:1"])
def test_network_needs_tls(address: str) -> None:
    """Without TLS the server only listens on loopback, unless that is explicitly allowed."""
    flags = {"model": "any", "address": address}
    with pytest.raises(SettingsError, match="allow_plaintext_network"):
        settings.load(flags, {})
    assert settings.load({**flags, "allow_plaintext_network": "true"}, {}).address == address


@pytest.mark.parametrize("address", ["127.0.0.2:0", "localhost:0", "[::1]:0"])
def test_loopback_needs_no_tls(address: str) -> None:
    """On loopback plaintext is the default."""
    assert settings.load({"model": "any", "address": address}, {}).address == address


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_certificate": "a"}, "need each other"),
        ({"tls_key": "a"}, "need each other"),
        ({"tls_client_ca": "a"}, "needs tls_certificate"),
    ],
)
def test_incomplete_tls(given: dict[str, str], message: str) -> None:
    """TLS that is told by halves is an error."""
    with pytest.raises(SettingsError, match=message):
        settings.load({"model": "any", **given}, {})


def encrypted(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


def other_key(_: bytes) -> bytes:
    return trustme.CA().private_key_pem.bytes()


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        pytest.param("certificate.pem", None, "cannot be read", id="no certificate"),
        pytest.param("key.pem", None, "cannot be read", id="no key"),
        pytest.param("ca.pem", None, "cannot be read", id="no ca"),
        pytest.param("certificate.pem", lambda _: b"?", "holds no PEM certificate", id="junk"),
        pytest.param("ca.pem", lambda _: b"?", "holds no PEM certificate", id="junk ca"),
        pytest.param("ca.pem", lambda _: b"", "holds no PEM certificate", id="empty ca"),
        pytest.param("key.pem", other_key, "is not the key of", id="other key"),
        pytest.param("key.pem", encrypted, "without a password", id="encrypted key"),
    ],
)
def test_unusable_tls(
    name: str,
    damage: Callable[[bytes], bytes] | None,
    reason: str,
    store: Store,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    """Files that cannot make TLS stop the server at start, by the file's name."""
    made = issue(tmp_path, authority, "localhost")
    ca, blamed = tmp_path / "ca.pem", tmp_path / name
    authority.cert_pem.write_to_path(ca)
    if damage:
        blamed.write_bytes(damage(blamed.read_bytes()))
    else:
        blamed.unlink()
    chosen = small_settings(store, tls_client_ca=ca, **made.settings())
    with pytest.raises(TlsError) as caught, running_server(chosen):
        pass
    assert str(blamed) in str(caught.value)
    assert reason in str(caught.value)


def test_expired_certificate(store: Store, authority: trustme.CA, tmp_path: Path) -> None:
    """A certificate that is over stops the server at start."""
    past = datetime.now(timezone.utc) - timedelta(days=2)
    dates = {"not_before": past - timedelta(days=2), "not_after": past}
    made = issue(tmp_path, authority, "localhost", **dates)
    with (
        pytest.raises(TlsError, match=rf"{made.certificate} expired on"),
        running_server(small_settings(store, **made.settings())),
    ):
        pass


@pytest.mark.parametrize("kind", ["ed25519", "p521", "rsa1024", "future"])
def test_unusable_kind(kind: str, store: Store, authority: trustme.CA, tmp_path: Path) -> None:
    """Keys that clients of gRPC refuse, and a certificate of the future, are refused at start."""
    made = issue(tmp_path, authority, "localhost")
    now = datetime.now(timezone.utc)
    later = now + timedelta(days=1)
    key: Any = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "rsa1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  # Meant.
        "future": lambda: ec.generate_private_key(ec.SECP256R1()),
    }[kind]()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(later if kind == "future" else now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, None if kind == "ed25519" else hashes.SHA256())
    )
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    reason = "is not valid before" if kind == "future" else "clients of gRPC do not take"
    chosen = small_settings(store, **made.settings())
    with pytest.raises(TlsError, match=reason), running_server(chosen):
        pass
