"""Access files, whatever is in them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_embedding_server.security.access import Access, AccessError, Permission
from support.damage import attempt, damaged

_DIGEST = hashlib.sha256(b"token").hexdigest()
GOOD = f"""
[search]
permissions = ["embed", "compare"]
tokens = [{{ sha256 = "{_DIGEST}", expires = 2027-01-31T00:00:00Z }}]
[operator]
permissions = ["info", "debug"]
certificates = ["operator.example.org"]
"""
_VALUES = [
    "true", "nan", "-1", '""', '"embed"', "[]", '["embed"]', '["root"]', "[[]]", "{}",
    "2027-01-31", f'[{{ sha256 = "{_DIGEST}" }}]', '[{ sha256 = "0" }]', "[{ expires = 1 }]",
]  # fmt: skip
_KEYS = ["permissions", "tokens", "certificates", "sha256", "Permissions"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / "access.toml"


def check(path: Path) -> None:
    found = attempt(AccessError, lambda: Access(path, takes_tokens=True, takes_certificates=True))
    if isinstance(found, AccessError):
        assert str(path) in str(found)


@given(data=damaged([GOOD.encode()]))
def test_damaged(path: Path, data: bytes) -> None:
    """A damaged access file is taken or refused with its path, and nothing else happens."""
    path.write_bytes(data)
    check(path)


@given(
    callers=st.dictionaries(
        st.sampled_from(["a", "b", '"c d"', "a.b"]),
        st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_VALUES), max_size=4),
        max_size=3,
    )
)
def test_any_tables(path: Path, callers: Mapping[str, Mapping[str, str]]) -> None:
    """So is one with any values at any keys."""
    lines = [
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for name, keys in callers.items()
    ]
    path.write_text("".join(lines), "utf-8")
    check(path)


@given(permissions=st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_unknown_permissions(path: Path, permissions: list[str]) -> None:
    """A permission that there is not is refused, and not left aside."""
    unknown = [each for each in permissions if each not in get_args(Permission)]
    listed = ", ".join('"' + "".join(f"\\U{ord(c):08x}" for c in each) + '"' for each in unknown)
    path.write_text(f'[a]\npermissions = ["embed", {listed}]\ncertificates = ["x"]\n', "utf-8")
    if unknown:
        with pytest.raises(AccessError):
            Access(path, takes_tokens=True, takes_certificates=True)
