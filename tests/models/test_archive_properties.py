"""Zip archives of weights, whatever is in them."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_embedding_models import manifest
from face_embedding_models.errors import ImportRefusedError
from face_embedding_models.installing import sources
from support import MOBILE
from support.damage import attempt, damaged
from support.made_weights import SYMBOL, params_of, zipped

KNOWN = manifest.load(MOBILE)
_SYMBOL_NAME, _PARAMS_NAME = "model-symbol.json", "model-0000.params"
GOOD = {_SYMBOL_NAME: SYMBOL, _PARAMS_NAME: params_of()}
_PLACES = ["", "model/", "../", "/", "C:/", "a/../../", "\\..\\", "./"]


def _stored() -> bytes:
    """An archive whose files are not compressed, so that damage reaches what they hold."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in GOOD.items():
            archive.writestr(name, data)
    return buffer.getvalue()


SEEDS = [zipped(GOOD), _stored(), zipped({f"model/{name}": data for name, data in GOOD.items()})]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "inside"
    folder.mkdir()
    return folder / "weights.zip"


def read(path: Path) -> dict[str, bytes] | ImportRefusedError:
    return attempt(ImportRefusedError, lambda: sources.read_archive(KNOWN, path, "weights.zip"))


@given(data=damaged(SEEDS))
def test_damaged(path: Path, data: bytes) -> None:
    """A damaged archive is refused, or gives the parts of the format."""
    path.write_bytes(data)
    found = read(path)
    if isinstance(found, ImportRefusedError):
        assert "weights.zip" in str(found)
    else:
        assert len(found) == len(GOOD)


@given(
    names=st.lists(
        st.tuples(st.sampled_from(_PLACES), st.sampled_from([*GOOD, "readme.txt"])), max_size=5
    )
)
def test_any_names(path: Path, names: list[tuple[str, str]]) -> None:
    """Entries of any names give the weights, or are refused; none is written anywhere."""
    path.write_bytes(zipped({place + name: GOOD.get(name, b"") for place, name in names}))
    before = sorted(path.parent.parent.rglob("*"))
    found = read(path)
    if not isinstance(found, ImportRefusedError):
        assert sorted(found.values()) == sorted(GOOD.values())
    assert sorted(path.parent.parent.rglob("*")) == before
