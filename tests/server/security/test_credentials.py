"""Who is let in: wrong, missing, expired and foreign credentials, and permissions."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
import trustme
from google.rpc import error_details_pb2, status_pb2

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.cli.main import main
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.rpc.status import STATUS_DETAILS_KEY
from face_embedding_server.security import access
from face_embedding_server.security.access import AccessError
from support import Identity, RunningServer, encode, issue, metric, running_server, small_settings

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
    "decide": [f"{V1}/Compare"],
    "info": ["grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"],
    "debug": ["grpc.channelz.v1.Channelz/GetServers"],
}
# Any of the permissions but the last is enough for these.
DESCRIPTIONS = [
    *(f"{V1}/{name}" for name in ("GetModelInfo", "ListModels")),
    *(f"{V2}/{name}" for name in ("ModelMetadata", "ServerMetadata")),
]
ALL_METHODS = [*(method for methods in METHODS.values() for method in methods), *DESCRIPTIONS]
ANY = [f"{V2}/{name}" for name in ("ServerLive", "ServerReady", "ModelReady")]
TIMEOUT_S = 20
DAY = timedelta(days=1)
PAST = datetime.now(timezone.utc) - 2 * DAY
# Of client certificates that are not valid now.
DATES: dict[str | None, dict[str, datetime]] = {
    "expired": {"not_before": PAST - DAY, "not_after": PAST},
    "early": {"not_before": PAST + 3 * DAY, "not_after": PAST + 4 * DAY},
}


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


def is_allowed(permission: str, method: str) -> bool:
    return method in METHODS[permission] or (method in DESCRIPTIONS and permission != "debug")


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
permissions = ["embed", "compare", "decide", "info", "debug"]
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
    chosen = small_settings(store, access=file, channelz=True, **identity.settings())
    with running_server(chosen) as running:
        yield running


@pytest.fixture(scope="module")
def mtls_server(
    store: Store, identity: Identity, access_file: Path, ca_file: Path
) -> Iterator[RunningServer]:
    """A server with TLS that asks for a client certificate, and takes tokens too."""
    files = {"access": access_file, "tls_client_ca": ca_file, **identity.settings()}
    chosen = small_settings(store, channelz=True, **files)
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
    allowed = is_allowed(permission, method)
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
        pytest.param("early", NO_CONNECTION, id="not valid yet"),
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
    name = f"{'everything' if expected == NO_CONNECTION else own}.example.org"
    identity = issue(tmp_path, issuer, name, **DATES.get(own, {})) if own else None
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
    allowed = is_allowed(permission, method)
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
        return metric(token_server, "stage_duration_seconds_count", stage="decode")

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
    assert metric(token_server, "rejected_total", reason="CREDENTIALS_MISSING") >= 1


def test_everyone_without_access_file(channel: grpc.Channel) -> None:
    """Without an access file everyone may call everything."""
    methods = [method for method in ALL_METHODS if method not in METHODS["debug"]]
    assert {call(channel, method) for method in methods} == {LET_IN}


def test_new_token(capsys: pytest.CaptureFixture[str]) -> None:
    """The command makes a token, long enough not to be guessed, and its digest."""
    assert main(["token"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert lines["sha256"] == digest(lines["token"])
    assert len(lines["token"]) >= 43
    assert access.new_token() != access.new_token()


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
