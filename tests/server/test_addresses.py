"""The addresses that a server listens on."""

import pytest

from face_embedding_server import addresses, settings
from face_embedding_server.settings import SettingsError

SETTINGS = ["address", "health_address", "metrics_address"]
NO_PORT = "its port has to be a number from 0, for a free one, to 65535"
NO_ADDRESS = (
    "it has to be HOST:PORT, the host a name, an IPv4 address or an IPv6 address in brackets"
)
REFUSED = {
    "127.0.0.1:65536": NO_PORT,
    "127.0.0.1:99999": NO_PORT,
    "[::1]:1000000": NO_PORT,
    "127.0.0.1:-5": NO_PORT,
    "127.0.0.1: 5": NO_PORT,
    "127.0.0.1:٣": NO_PORT,
    "127.0.0.1:grpc": NO_PORT,
    "127.0.0.1:": NO_PORT,
    "127.0.0.1": NO_ADDRESS,
    ":50051": NO_ADDRESS,
    "::1:50051": NO_ADDRESS,
    "[nowhere]:50051": NO_ADDRESS,
    "http://127.0.0.1:50051": NO_ADDRESS,
    "a b:50051": NO_ADDRESS,
    "": NO_ADDRESS,
    "unix:/run/faces": "it has to be HOST:PORT; this server listens on no Unix socket",
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("address", "message"), REFUSED.items(), ids=ascii)
def test_refused(name: str, address: str, message: str) -> None:
    """What is no address is refused with the setting's name, and in words what is expected."""
    with pytest.raises(SettingsError) as raised:
        settings.load({"model": "m", name: address}, {})
    flag = f"--{name.replace('_', '-')}: '{name}' cannot be "
    assert str(raised.value).startswith(flag)
    assert f": {message}" in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:0", "localhost:65535", "[::1]:50051", "[fe80::1%eth0]:1", "a-b_c.d:00080"],
)
def test_taken(address: str) -> None:
    """Names, both kinds of addresses, and all ports are taken as they are."""
    assert addresses.checked(address) == address
