"""A proxy in the environment."""

import pytest
from twins import Client

from face_embedding_client import FaceEmbeddingError
from face_embedding_client._proxies import is_local
from support import RunningServer

# Nobody listens there.
PROXY = "http://127.0.0.1:1"
VARIABLES = ["grpc_proxy", "https_proxy", "http_proxy"]


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("form", ["{}", "dns:///{}", "ipv4:{}", "ipv4:{},{}"])
def test_loopback(
    form: str,
    variable: str,
    kind: type[Client],
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets no calls to this machine."""
    monkeypatch.setenv(variable, PROXY)
    assert kind(form.format(server.address, server.address)).is_serving()


@pytest.mark.parametrize("variable", VARIABLES)
def test_hint(variable: str, kind: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it gets calls and the server is not reached, the error names its variable."""
    monkeypatch.setenv(variable, PROXY)
    with pytest.raises(FaceEmbeddingError, match=f"^192.0.2.1:1: {variable} is set"):
        kind("192.0.2.1:1", timeout_s=5).is_serving()


def test_no_hint(kind: type[Client]) -> None:
    """Without one nothing is said of it."""
    with pytest.raises(FaceEmbeddingError) as caught:
        kind("127.0.0.1:1", timeout_s=5).is_serving()
    assert "proxy" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "LOCALHOST.:1",
        "face.localhost:1",
        "127.9.9.9:1",
        "0.0.0.0:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "ipv6:[::1]:1",
        "ipv6:%5B::1%5D:1",
        "dns:///localhost:1",
        "dns://8.8.8.8/127.0.0.1:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "unix:/run/face.sock",
        "unix:///run/face.sock",
        "unix-abstract:face",
    ],
)
def test_local(address: str) -> None:
    """What is this machine, whatever it is called."""
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "example.org:443",
        "localhost.example.org:443",
        "dns:///example.org:443",
        "ipv4:127.0.0.1:1,192.0.2.1:1",
        "[2001:db8::1]:1",
        "10.0.0.1:1",
        "",
    ],
)
def test_elsewhere(address: str) -> None:
    """What is not, or not in all of its addresses."""
    assert not is_local(address)
