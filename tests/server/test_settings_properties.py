"""Settings from files, variables and flags, whatever is in them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_embedding_server import settings
from face_embedding_server.settings import Settings, SettingsError
from support.damage import attempt, damaged, json_values

GOOD = """
model = "face-recognition-mobilefacenet-arcface"
address = "127.0.0.1:0"
metrics_address = "[::1]:9090"
max_faces_per_request = 8
drain_s = 0.5
reflection = false
"""
_NAMES = st.sampled_from(sorted(Settings.model_fields))
# Variables hold no surrogates and no zero byte.
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_ADDRESSES = st.from_regex(r"[a-z0-9.:\[\]]{0,12}:\d{0,6}", fullmatch=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "settings.toml"


def loaded(flags: dict[str, object], environment: dict[str, str]) -> Settings | None:
    """The settings, or None where they are refused with a message."""
    found = attempt(SettingsError, lambda: settings.load(flags, environment))
    return found if isinstance(found, Settings) else None


@given(data=damaged([GOOD.encode()]))
def test_damaged_file(path: Path, data: bytes) -> None:
    """A damaged settings file is taken or refused, and nothing else happens."""
    path.write_bytes(data)
    loaded({"config": path}, {})


@given(st.dictionaries(_NAMES, json_values(), max_size=4))
def test_any_values(values: dict[str, object]) -> None:
    """Any values of any settings are taken or refused."""
    loaded({"model": "m", **values}, {})


@given(st.dictionaries(_NAMES, _TEXTS, max_size=3))
def test_any_variables(variables: dict[str, str]) -> None:
    """So are those of the environment."""
    named = {f"FACE_EMBEDDING_{name.upper()}": value for name, value in variables.items()}
    loaded({"model": "m"}, named)


@given(_ADDRESSES, st.booleans())
def test_addresses(address: str, allowed: bool) -> None:
    """An address that is taken without TLS is of this machine only, unless the network is meant."""
    found = loaded({"model": "m", "address": address, "allow_plaintext_network": allowed}, {})
    if found and not allowed:
        host = address.rpartition(":")[0].strip("[]")
        assert host in ("localhost", "::1") or host.startswith("127.")


@given(st.floats())
def test_seconds(value: float) -> None:
    """A duration that is taken is a number within its limits."""
    found = loaded({"model": "m", "grace_s": value}, {})
    assert found is None or 0 <= found.grace_s <= 86400
