"""Text files as Notepad and Excel write them: with a mark, in UTF-16, with semicolons."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from face_embedding_client.cli.main import main as client_main
from face_embedding_models.store import Store
from face_embedding_server import settings
from face_embedding_server.cli.main import main
from face_embedding_server.evaluation import pairs
from face_embedding_server.evaluation.pairs import PairsError
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import CalibrationError
from face_embedding_server.settings import SettingsError
from support import MOBILE, encode, issue, running_server, small_settings
from support.made_weights import onnx_of, own_toml

TABLE = "first,second,same\na,b,1\nb,a,0\n"
CALIBRATION = '{"space": "s", "same_pairs": 1, "different_pairs": 1, "operating_points": []}'
ACCESS = f"""
[search]
permissions = ["info"]
tokens = [{{sha256 = "{hashlib.sha256(b"s3cret").hexdigest()}"}}]
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text as an editor would."""

    def write(name: str, text: str, encoding: str = "utf-8-sig") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding)
        return path

    return write


@pytest.fixture
def images(tmp_path: Path, faces: list[Any]) -> Path:
    for name, face in zip("ab", faces, strict=False):
        (tmp_path / f"{name}.png").write_bytes(encode(face))
    return tmp_path


def test_pairs(write: Write, images: Path) -> None:
    """A table of pairs may begin with a mark."""
    assert pairs.read_table(write("pairs.csv", TABLE), images).same.tolist() == [True, False]


@pytest.mark.parametrize(
    ("separator", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")]
)
def test_other_separator(separator: str, words: str, write: Write, images: Path) -> None:
    """A table with another separator is refused by its name."""
    table = write("pairs.csv", TABLE.replace(",", separator))
    with pytest.raises(PairsError, match=f"separated by {words}, and have to be by commas"):
        pairs.read_table(table, images)


def test_settings(write: Write) -> None:
    """A settings file may begin with a mark."""
    assert settings.load({"config": write("s.toml", 'model = "m"\n')}, {}).model == "m"


def test_calibration(write: Write) -> None:
    """So may a calibration."""
    assert operating_points.read(write("calibration.json", CALIBRATION)).space == "s"


def test_manifest(write: Write, tmp_path: Path) -> None:
    """So may a manifest of one's own."""
    (tmp_path / "own.onnx").write_bytes(onnx_of())
    manifest = write("own.toml", own_toml(onnx_of()))
    store = ["--store", str(tmp_path / "store")]
    given = ["models", "import", "my-model", str(tmp_path / "own.onnx"), "--manifest"]
    assert main([*given, str(manifest), *store]) == 0


def test_secrets(
    write: Write,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So may the access file, a token's file, and the PEM files of both sides."""
    authority = trustme.CA()
    identity = issue(tmp_path, authority, "localhost", "127.0.0.1")
    paths = {
        name: write(f"{name}.pem", path.read_text()) for name, path in identity.settings().items()
    }
    authorities = write("ca.pem", authority.cert_pem.bytes().decode())
    access, token = write("access.toml", ACCESS), write("token", "s3cret\n")
    with running_server(small_settings(store, **paths, access=access)) as running:
        given = ["--address", running.address, "--ca", str(authorities), "--token-file", str(token)]
        assert client_main(["info", *given]) == 0
    assert MOBILE in capsys.readouterr().out


UTF_16: dict[str, tuple[str, type[Exception], Callable[[Path], object]]] = {
    "pairs": (TABLE, PairsError, lambda path: pairs.read_table(path, path.parent)),
    "settings": ('model = "m"', SettingsError, lambda path: settings.load({"config": path}, {})),
    "calibration": (CALIBRATION, CalibrationError, operating_points.read),
}


@pytest.mark.parametrize(("text", "error", "read"), UTF_16.values(), ids=UTF_16)
def test_utf_16(
    text: str, error: type[Exception], read: Callable[[Path], object], write: Write
) -> None:
    """A file that an editor saved as UTF-16 is refused with what to do."""
    with pytest.raises(error, match="it is UTF-16; save it as UTF-8"):
        read(write("file", text, "utf-16"))
