"""Who is let in: wrong, missing, expired and foreign credentials, and permissions."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server import access, cli, settings
from face_embedding_server.access import Access, AccessError
from face_embedding_server.errors import STATUS_DETAILS_KEY
from face_embedding_server.images import Image as Face
from face_embedding_server.settings import SettingsError
from face_embedding_server.tls import TlsError
from support import Identity, RunningServer, encode, issue, running_server, small_settings

# Bytes that are no message: a method that is reached refuses them as malformed.
JUNK = b"\xff"
V1, V2 = "face_embedding.v1.FaceEmbeddingService", "inference.GRPCInferenceService"
STREAMS = ("EmbedStream", "ModelStreamInfer")
METHODS = {
    "embed": [
        *(f"{V1}/{name}" for name in ("Embed", "EmbedStream", "Detect")),
        *(f"{V2}/{name}" for name in ("ModelInfer", "ModelStreamInfer")),
    ],
    "compare": [f"{V1}/Compare"],
    "info": [f"{V1}/GetModelInfo", f"{V2}/ModelMetadata", f"{V2}/ServerMetadata"],
}
ALL_METHODS = [method for methods in METHODS.values() for method in methods]
ANY = [f"{V2}/{name}" for name in ("ServerLive", "ServerReady", "ModelReady")]
TIMEOUT_S = 20
# A channel with these shares no connection with another one.
OWN = [("grpc.use_local_subchannel_pool", 1)]
PAST = datetime.now(timezone.utc) - timedelta(days=2)


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its code, and the reason in its details."""

    code: grpc.StatusCode
    reason: str


LET_IN = Outcome(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
# The connection itself fails, so there is no answer of the server.
NO_CONNECTION = Outcome(grpc.StatusCode.UNAVAILABLE, "")
MISSING, UNKNOWN, EXPIRED = (
    Outcome(grpc.StatusCode.UNAUTHENTICATED, f"CREDENTIALS_{reason}")
    for reason in ("MISSING", "UNKNOWN", "EXPIRED")
)
FORBIDDEN = Outcome(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION")


def call(channel: grpc.Channel, method: str, authorization: str | None = None) -> Outcome:
    """Call a method with bytes that are no message."""
    metadata = [("authorization", authorization)] if authorization is not None else []
    try:
        if method.rpartition("/")[2] in STREAMS:
            items = channel.stream_stream(f"/{method}")(
                iter([JUNK]), metadata=metadata, timeout=TIMEOUT_S
            )
            list(items)
            return LET_IN  # An item's error does not end a stream.
        channel.unary_unary(f"/{method}")(JUNK, metadata=metadata, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return Outcome(error.code(), reason_of(error))
    raise AssertionError("junk was taken")


def reason_of(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            status_pb2.Status.FromString(value).details[0].Unpack(info)
    return info.reason


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


ACCESS = f"""
[everything]
permissions = ["embed", "compare", "info"]
tokens = [
  {{ sha256 = "{digest("old")}", expires = {PAST:%Y-%m-%dT%H:%M:%SZ} }},
  {{ sha256 = "{digest("right")}", expires = 2999-01-01T00:00:00Z }},
  {{ sha256 = "{digest("next").upper()}" }},
]
certificates = ["everything.example.org"]
""" + "".join(
    f"""
[{permission}]
permissions = ["{permission}"]
tokens = [{{ sha256 = "{digest(permission)}" }}]
certificates = ["{permission}.example.org"]
"""
    for permission in METHODS
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("security")


@pytest.fixture(scope="module")
def identity(folder: Path, authority: trustme.CA) -> Identity:
    return issue(folder / "server", authority, "localhost")


@pytest.fixture(scope="module")
def access_file(folder: Path) -> Path:
    file = folder / "access.toml"
    file.write_text(ACCESS)
    return file


@pytest.fixture(scope="module")
def ca_file(folder: Path, authority: trustme.CA) -> Path:
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="module")
def token_server(store: Store, identity: Identity, folder: Path) -> Iterator[RunningServer]:
    """A server with TLS that asks for a token."""
    file = folder / "tokens.toml"
    lines = [line for line in ACCESS.splitlines() if "certificates" not in line]
    file.write_text("\n".join(lines))
    with running_server(small_settings(store, access=file, **identity.settings())) as running:
        yield running


@pytest.fixture(scope="module")
def mtls_server(
    store: Store, identity: Identity, access_file: Path, ca_file: Path
) -> Iterator[RunningServer]:
    """A server with TLS that asks for a client certificate, and takes tokens too."""
    chosen = small_settings(store, access=access_file, tls_client_ca=ca_file, **identity.settings())
    with running_server(chosen) as running:
        yield running


def secure(
    running: RunningServer, ca: bytes, own: Identity | None = None, address: str = "localhost"
) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca,
        own.key.read_bytes() if own else None,
        own.certificate.read_bytes() if own else None,
    )
    return grpc.secure_channel(f"{address}:{running.server.port}", credentials)


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        pytest.param(None, MISSING, id="missing"),
        pytest.param("Bearer wrong", UNKNOWN, id="wrong"),
        pytest.param("Bearer ", UNKNOWN, id="empty"),
        pytest.param("", UNKNOWN, id="no scheme"),
        pytest.param("Basic right", UNKNOWN, id="other scheme"),
        pytest.param(f"Bearer {digest('right')}", UNKNOWN, id="digest"),
        pytest.param("Bearer old", EXPIRED, id="expired"),
        pytest.param("Bearer right", LET_IN, id="right"),
        pytest.param("Bearer next", LET_IN, id="second"),
    ],
)
def test_token(
    authorization: str | None,
    expected: Outcome,
    method: str,
    token_server: RunningServer,
    authority: trustme.CA,
) -> None:
    """A token is checked before any method sees a byte."""
    with secure(token_server, authority.cert_pem.bytes()) as channel:
        assert call(channel, method, authorization) == expected


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("permission", METHODS)
def test_permission(
    permission: str, method: str, token_server: RunningServer, authority: trustme.CA
) -> None:
    """A caller may call what its permissions name; the description of a model with any of them."""
    allowed = method in METHODS[permission] or method in METHODS["info"]
    with secure(token_server, authority.cert_pem.bytes()) as channel:
        outcome = call(channel, method, f"Bearer {permission}")
    assert outcome == (LET_IN if allowed else FORBIDDEN)


@pytest.mark.parametrize("method", ANY)
def test_probes_need_no_credentials(
    method: str, token_server: RunningServer, authority: trustme.CA
) -> None:
    """Anyone who can connect may ask whether the server lives."""
    with secure(token_server, authority.cert_pem.bytes()) as channel:
        assert call(channel, method) == LET_IN


@pytest.mark.parametrize("method", [*ALL_METHODS, *ANY])
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param(None, NO_CONNECTION, id="missing"),
        pytest.param("foreign", NO_CONNECTION, id="foreign"),
        pytest.param("expired", NO_CONNECTION, id="expired"),
        pytest.param("stranger", UNKNOWN, id="not listed"),
        pytest.param("everything", LET_IN, id="listed"),
    ],
)
def test_certificate(
    own: str | None,
    expected: Outcome,
    method: str,
    mtls_server: RunningServer,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    """A client certificate is checked by the connection, and its name before any method."""
    issuer = trustme.CA() if own == "foreign" else authority
    dates = {"not_before": PAST - timedelta(days=2), "not_after": PAST} if own == "expired" else {}
    name = f"{'everything' if own in ('foreign', 'expired') else own}.example.org"
    identity = issue(tmp_path, issuer, name, **dates) if own else None
    if own == "stranger" and method in ANY:
        expected = LET_IN
    with secure(mtls_server, authority.cert_pem.bytes(), identity) as channel:
        assert call(channel, method) == expected


@pytest.mark.parametrize("permission", METHODS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_certificate_permission(
    permission: str,
    method: str,
    mtls_server: RunningServer,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    """Permissions are the same for a caller who is known by a certificate."""
    allowed = method in METHODS[permission] or method in METHODS["info"]
    identity = issue(tmp_path, authority, f"{permission}.example.org")
    with secure(mtls_server, authority.cert_pem.bytes(), identity) as channel:
        assert call(channel, method) == (LET_IN if allowed else FORBIDDEN)


def test_wrong_token_beside_certificate(
    mtls_server: RunningServer, authority: trustme.CA, tmp_path: Path
) -> None:
    """A wrong token is not made good by a certificate."""
    identity = issue(tmp_path, authority, "everything.example.org")
    with secure(mtls_server, authority.cert_pem.bytes(), identity) as channel:
        assert call(channel, f"{V1}/Embed", "Bearer wrong") == UNKNOWN


def test_common_name(mtls_server: RunningServer, authority: trustme.CA, tmp_path: Path) -> None:
    """A certificate is known by its common name too."""
    identity = issue(tmp_path, authority, "other.example", common_name="embed.example.org")
    with secure(mtls_server, authority.cert_pem.bytes(), identity) as channel:
        assert call(channel, f"{V1}/Embed") == LET_IN


def test_plaintext_to_tls(token_server: RunningServer) -> None:
    """A server with TLS does not answer without."""
    with grpc.insecure_channel(f"localhost:{token_server.server.port}") as channel:
        assert call(channel, f"{V1}/Embed", "Bearer right") == NO_CONNECTION


def test_foreign_server(token_server: RunningServer) -> None:
    """A client that trusts another authority does not send its token."""
    with secure(token_server, trustme.CA().cert_pem.bytes()) as channel:
        assert call(channel, f"{V1}/Embed", "Bearer right") == NO_CONNECTION


def test_other_name(token_server: RunningServer, authority: trustme.CA) -> None:
    """A client refuses a server whose certificate is of another name."""
    with secure(token_server, authority.cert_pem.bytes(), address="127.0.0.1") as channel:
        assert call(channel, f"{V1}/Embed", "Bearer right") == NO_CONNECTION


BAD = ["", "Bearer wrong", "Bearer old", "Bearer info", "Bearer compare"]


@pytest.mark.parametrize("authorization", BAD)
def test_no_handler_runs(
    authorization: str, token_server: RunningServer, authority: trustme.CA, faces: list[Face]
) -> None:
    """A face that could be embedded is not even decoded for a caller who is refused."""
    face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())

    def decoded() -> float:
        registry = token_server.server.metrics.registry
        name = "face_embedding_stage_duration_seconds_count"
        return registry.get_sample_value(name, {"stage": "decode"}) or 0

    with secure(token_server, authority.cert_pem.bytes()) as channel:
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        request = pb.EmbedRequest(faces=[face])
        before = decoded()
        with pytest.raises(grpc.RpcError):
            embed(request, metadata=[("authorization", authorization)], timeout=TIMEOUT_S)
        assert decoded() == before
        embed(request, metadata=[("authorization", "Bearer embed")], timeout=TIMEOUT_S)
        assert decoded() == before + 1


def test_refusals_are_counted(token_server: RunningServer, authority: trustme.CA) -> None:
    """Whoever is refused is counted by the reason."""
    with secure(token_server, authority.cert_pem.bytes()) as channel:
        call(channel, f"{V1}/Embed")
    registry = token_server.server.metrics.registry
    labels = {"reason": "CREDENTIALS_MISSING"}
    assert (registry.get_sample_value("face_embedding_rejected_total", labels) or 0) >= 1


def test_everyone_without_access_file(channel: grpc.Channel) -> None:
    """Without an access file everyone may call everything."""
    assert {call(channel, method) for method in ALL_METHODS} == {LET_IN}


def test_new_token(capsys: pytest.CaptureFixture[str]) -> None:
    """The command makes a token, long enough not to be guessed, and its digest."""
    assert cli.main(["token"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert lines["sha256"] == digest(lines["token"])
    assert len(lines["token"]) >= 43
    assert access.new_token() != access.new_token()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search = 1", "search"),
        ("[search]", "permissions"),
        ('[search]\npermissions = ["admin"]', "'embed', 'compare', 'info' or 'debug'"),
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


def test_tokens_need_tls(store: Store, tmp_path: Path) -> None:
    """Tokens without TLS are refused at start, unless that is explicitly allowed."""
    file = tmp_path / "who.toml"
    file.write_text(f'[a]\npermissions = ["info"]\ntokens = [{{ sha256 = "{digest("t")}" }}]')
    with (
        pytest.raises(AccessError, match="allow_plaintext_tokens"),
        running_server(small_settings(store, access=file)),
    ):
        pass
    chosen = small_settings(store, access=file, allow_plaintext_tokens=True)
    with (
        running_server(chosen, load=False) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        assert call(channel, f"{V1}/GetModelInfo") == MISSING
        assert call(channel, f"{V1}/GetModelInfo", "Bearer t") == LET_IN


def test_certificates_need_an_authority(
    store: Store, access_file: Path, identity: Identity
) -> None:
    """Names of certificates mean nothing where clients show none."""
    chosen = small_settings(store, access=access_file, **identity.settings())
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


@pytest.mark.parametrize(
    "fault", ["missing", "junk", "other key", "expired", "encrypted", "bad ca"]
)
def test_unusable_tls(fault: str, store: Store, authority: trustme.CA, tmp_path: Path) -> None:
    """Files that cannot make TLS stop the server at start, by the file's name."""
    dates = (
        {"not_before": PAST - timedelta(days=2), "not_after": PAST} if fault == "expired" else {}
    )
    made = issue(tmp_path, authority, "localhost", **dates)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    blamed, reason = {
        "missing": (made.key, "cannot be read"),
        "junk": (made.certificate, "holds no PEM certificate"),
        "other key": (made.key, "is not the key of"),
        "expired": (made.certificate, "expired on"),
        "encrypted": (made.key, "without a password"),
        "bad ca": (ca, "holds no PEM certificate"),
        "empty ca": (ca, "holds no PEM certificate"),
    }[fault]
    if fault == "missing":
        blamed.unlink()
    elif fault in ("junk", "bad ca"):
        blamed.write_text("junk")
    elif fault == "empty ca":
        blamed.write_text("")
    elif fault == "other key":
        blamed.write_bytes(trustme.CA().private_key_pem.bytes())
    elif fault == "encrypted":
        blamed.write_bytes(encrypted(made.key.read_bytes()))
    chosen = small_settings(store, tls_client_ca=ca, **made.settings())
    with pytest.raises(TlsError) as caught, running_server(chosen):
        pass
    assert str(blamed) in str(caught.value)
    assert reason in str(caught.value)


def encrypted(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("embed@embed.example.org", MISSING, id="mail"),
        pytest.param("10.1.2.3", MISSING, id="address"),
        pytest.param("*.example.org", UNKNOWN, id="wildcard"),
        pytest.param("embed.example.org.evil.example", UNKNOWN, id="longer"),
    ],
)
def test_other_names(
    name: str,
    expected: Outcome,
    mtls_server: RunningServer,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    """A certificate is known by its whole DNS names, and not by what resembles them."""
    identity = issue(tmp_path, authority, name)
    with secure(mtls_server, authority.cert_pem.bytes(), identity) as channel:
        assert call(channel, f"{V1}/Embed") == expected


def test_name_is_not_cut(authority: trustme.CA, tmp_path: Path) -> None:
    """A zero byte in a name does not end it."""
    identity = issue(tmp_path, authority, common_name="embed.example.org\0.evil.example")
    pem = identity.certificate.read_bytes()
    names = access.names_in(pem[: pem.index(b"-----END") + 26])
    assert names == {"embed.example.org\0.evil.example"}


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


@pytest.mark.parametrize("method", [f"{V1}/Embed", f"{V1}/EmbedStream", f"{V2}/ModelInfer"])
def test_strangers_hold_no_thread(
    method: str, token_server: RunningServer, authority: trustme.CA
) -> None:
    """Calls without credentials that never send their message are ended, however many."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield b""

    with secure(token_server, authority.cert_pem.bytes()) as channel:
        stranger = channel.stream_stream(f"/{method}")
        calls = [stranger(nothing(), timeout=TIMEOUT_S) for _ in range(200)]
        codes = {each.code() for each in calls}
        over.set()
        assert codes == {grpc.StatusCode.UNAUTHENTICATED}


def test_open_streams_hold_up_nobody(
    server: RunningServer, channel: grpc.Channel, faces: list[Face]
) -> None:
    """Streams that are left open take no thread from other calls, nor from health."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield b""

    with grpc.insecure_channel(server.address) as own:
        stream = own.stream_stream(f"/{V1}/EmbedStream")
        calls = [stream(nothing(), timeout=TIMEOUT_S) for _ in range(150)]
        check = health_pb2_grpc.HealthStub(channel).Check
        face = pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        assert check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status
        assert embed(pb.EmbedRequest(faces=[face]), timeout=TIMEOUT_S).results
        for each in calls:
            each.cancel()
        over.set()


def test_open_calls_hold_up_no_probe(store: Store) -> None:
    """Calls of the health service that never send their message do not keep probes from answers."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield b""

    settings = small_settings(store, health_address="127.0.0.1:0", detector="none")
    with running_server(settings) as running:
        address = f"127.0.0.1:{running.server.health_port}"
        with grpc.insecure_channel(address) as bad, grpc.insecure_channel(address, OWN) as good:
            check = bad.stream_unary("/grpc.health.v1.Health/Check")
            calls = [check.future(nothing(), timeout=TIMEOUT_S) for _ in range(100)]
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(good).Check(request, timeout=TIMEOUT_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            for each in calls:
                each.cancel()
            over.set()
