"""Files of an operator that are nothing of the kind: each is refused shortly, with its path."""

from collections.abc import Callable
from pathlib import Path

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import ManifestError
from face_embedding_server import settings
from face_embedding_server.errors import OperatorError
from face_embedding_server.inference import operating_points
from face_embedding_server.security.access import Access

LONG = "x" * 100_000
# With the path of a test.
MOST_CHARACTERS = 4_000
TEXTS = {
    "long key": f"{LONG} = 1",
    "long key twice": f"[{LONG}]\n[{LONG}]",
    "long key of a table": f"[{LONG}]\n{LONG} = 1",
    "long value": f'model = "{LONG}"\nname = "{LONG}"\n[a]\npermissions = "{LONG}"',
    "long address": f'model = "m"\naddress = "{LONG}:1"\n[a]\npermissions = ["{LONG}"]',
    "long list": f"model = [{'1, ' * 100_000}]\nname = [{'1, ' * 100_000}]\n[a]\nx = 1",
    "long number": f"model = {'9' * 100_000}",
    "many keys": "\n".join(f"key_{n} = 1" for n in range(20_000)),
    "deep lists": f"model = {'[' * 50_000}{']' * 50_000}",
    "less deep lists": f"model = {'[' * 300}{']' * 300}\nname = 1\n[a]",
    "deep tables": f"{'.'.join('a' * 20_000)} = 1",
    "deep inline tables": f"model = {'{a = ' * 20_000}1{'}' * 20_000}",
    "JSON": f'{{"{LONG}": "{LONG}", "operating_points": [{{"{LONG}": 1}}], "space": {"[" * 50_000}',
    "JSON with long keys": f'{{"{LONG}": 1, "operating_points": [{{"{LONG}": 1}}]}}',
    "other encoding": "model = 'é'",
}


def read_access(path: Path) -> None:
    Access(path, takes_tokens=True, takes_certificates=True)


def read_manifest(path: Path) -> None:
    try:
        manifest.parse(path.read_text("latin-1"))
    except ManifestError as error:
        # Who reads it adds where it is.
        raise ManifestError(f"{path}: {error}") from error


READERS: dict[str, Callable[[Path], object]] = {
    "settings": lambda path: settings.load({"config": path}, {}),
    "access": read_access,
    "calibration": operating_points.read,
    "manifest": read_manifest,
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("text", TEXTS)
def test_refusals(kind: str, text: str, tmp_path: Path) -> None:
    """What no file of a kind has in it is refused in some lines, with the path."""
    path = tmp_path / "file"
    path.write_bytes(TEXTS[text].encode("latin-1"))
    with pytest.raises((OperatorError, ManifestError)) as refused:
        READERS[kind](path)
    message = str(refused.value)
    assert str(path) in message
    assert "x" * 61 not in message
    assert len(message) < MOST_CHARACTERS


@pytest.mark.parametrize(
    "variable", [f"FACE_EMBEDDING_{LONG}", "FACE_EMBEDDING_GRACE_S", "FACE_EMBEDDING_ADDRESS"]
)
def test_variables(variable: str) -> None:
    """So is what the environment says."""
    with pytest.raises(settings.SettingsError) as refused:
        settings.load({"model": "m"}, {variable: LONG})
    assert variable[:40] in str(refused.value)
    assert len(str(refused.value)) < MOST_CHARACTERS
