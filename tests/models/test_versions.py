"""Versions of a model in the store, and which files of the archive and loose ones are proven."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import ImportRefusedError, StoreError, UnknownModelError
from face_embedding_models.formats import PARAMS_FILE, SYMBOL_FILE
from face_embedding_models.installing import importing
from face_embedding_models.manifest import Manifest
from face_embedding_models.store import Store
from face_embedding_server.cli.main import main
from support import MOBILE
from support.made_weights import OWN, SYMBOL, listed, model_of, onnx_of, own_toml, params_of, zipped

PARAMS = params_of()
ARCHIVE = zipped({f"a/{PARAMS_FILE}": PARAMS, f"a/{SYMBOL_FILE}": SYMBOL})
# As the ResNet34 has it: the publisher states the archive's digest, others that of the files.
KNOWN = model_of(
    listed(PARAMS_FILE, PARAMS, proof="corroborated"),
    listed(SYMBOL_FILE, SYMBOL, proof="corroborated"),
    archive=listed("a.zip", ARCHIVE),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root)


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["models", *arguments, "--store", str(root)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def written(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def take(store: Store, known: Manifest, *given: str) -> tuple[str, str]:
    """Import weights; return what they are, and what was told meanwhile."""
    told: list[str] = []
    origin = importing.import_weights(store, known, given, tell=told.append).origin
    return origin, " ".join(told)


def test_archive(store: Store, tmp_path: Path) -> None:
    """The published archive is published, and it is told that its files have the digests too."""
    origin, told = take(store, KNOWN, written(tmp_path, "copy.zip", ARCHIVE))
    assert origin == "published"
    assert "its files have the digests of the manifest" in told


def test_archive_with_other_files(store: Store, tmp_path: Path) -> None:
    """If the published archive holds other files, that is told: it decides what is published."""
    known = dataclasses.replace(
        KNOWN, files=(listed(PARAMS_FILE, params_of(2)), listed(SYMBOL_FILE, SYMBOL))
    )
    origin, told = take(store, known, written(tmp_path, "copy.zip", ARCHIVE))
    assert origin == "published"
    assert "its files do not have the digests of the manifest" in told


def test_loose_files(store: Store, tmp_path: Path) -> None:
    """The files that the archive would hold are corroborated, if others vouch for them."""
    given = written(tmp_path, "b-0000.params", PARAMS), written(tmp_path, "b-symbol.json", SYMBOL)
    assert take(store, KNOWN, *given) == ("corroborated", "")


def test_folder(store: Store, tmp_path: Path) -> None:
    """So are they in a folder."""
    (tmp_path / "in").mkdir()
    for name, data in ((PARAMS_FILE, PARAMS), (SYMBOL_FILE, SYMBOL)):
        written(tmp_path / "in", name, data)
    assert take(store, KNOWN, str(tmp_path / "in")) == ("corroborated", "")


def test_packed_again(store: Store, tmp_path: Path) -> None:
    """So are they in another archive."""
    again = zipped({PARAMS_FILE: PARAMS, SYMBOL_FILE: SYMBOL})
    assert take(store, KNOWN, written(tmp_path, "again.zip", again)) == ("corroborated", "")


def test_other_archive(store: Store, tmp_path: Path) -> None:
    """Another archive with other files is refused."""
    other = zipped({PARAMS_FILE: params_of(2), SYMBOL_FILE: SYMBOL})
    with pytest.raises(ImportRefusedError, match=r"is not the published a\.zip: it"):
        take(store, KNOWN, written(tmp_path, "again.zip", other))


@pytest.fixture
def versions(run: Any, tmp_path: Path) -> list[str]:
    """Two versions of a model of a user's own, of which the second one is in use."""
    made = []
    for number in range(2):
        data = onnx_of(number)
        text = written(tmp_path, "own.toml", own_toml(data).encode())
        source = written(tmp_path, "own.onnx", data)
        status, out, err = run("install", OWN, "--manifest", text, "--from", source, "--json")
        assert status == 0, err
        made.append(json.loads(out)["version"])
    return made


def test_versions(run: Any, versions: list[str]) -> None:
    """Both versions stay, and the newer one is in use."""
    shown = json.loads(run("show", OWN, "--json")[1])
    assert shown["version"] == versions[1]
    assert shown["versions"] == ", ".join(sorted(versions))


def test_going_back(run: Any, store: Store, versions: list[str]) -> None:
    """One can go back to a version that the store has."""
    assert run("use", OWN, versions[0])[0] == 0
    assert (store.get(OWN).version, store.get(OWN).read_onnx_file()) == (versions[0], onnx_of(0))


@pytest.mark.parametrize("command", ["use", "remove"])
def test_unknown_version(run: Any, versions: list[str], command: str) -> None:
    """A version that is not there is refused with those that are."""
    status, _, err = run(command, OWN, "nothing")
    assert status == 2
    assert f"has no version 'nothing' in the store; it has {', '.join(sorted(versions))}" in err


def test_removing_a_version(run: Any, store: Store, versions: list[str]) -> None:
    """A version that is not in use can be removed."""
    assert run("remove", OWN, versions[0])[0] == 0
    assert (store.versions(OWN), store.get(OWN).version) == ([versions[1]], versions[1])


def test_removing_the_version_in_use(run: Any, store: Store, versions: list[str]) -> None:
    """The version in use is not removed."""
    status, _, err = run("remove", OWN, versions[1])
    assert (status, "is in use; put another version to use first" in err) == (2, True)
    assert store.versions(OWN) == sorted(versions)


@pytest.mark.usefixtures("versions")
def test_removing_a_model(run: Any, root: Path) -> None:
    """A model is removed with all of its versions, and nothing is left of it."""
    assert run("remove", OWN)[0] == 0
    assert list(root.iterdir()) == []


def test_removing_what_is_not_there(store: Store) -> None:
    """A model that is known but not there is refused as such."""
    with pytest.raises(StoreError, match=f"{MOBILE} is not in the store"):
        store.remove(MOBILE)


@pytest.mark.parametrize("name", ["", ".", "..", "x", "../other/model", "my-model/x"])
@pytest.mark.usefixtures("versions")
def test_removing_what_is_no_name(store: Store, tmp_path: Path, name: str) -> None:
    """What is no name is refused, and never a path to what is removed."""
    record = tmp_path / "other" / "model" / "1" / "checkpoint" / "record.json"
    record.parent.mkdir(parents=True)
    record.touch()
    with pytest.raises(UnknownModelError):
        store.remove(name)
    assert record.exists()
    assert store.names() == [OWN]


def test_use_without_ir(run: Any, store: Store, versions: list[str]) -> None:
    """A version that lost its IR is converted before it is put to use."""
    for path in (store.root / OWN / versions[0] / "ir-f32").iterdir():
        path.unlink()
    (store.root / OWN / versions[0] / "ir-f32").rmdir()
    assert run("use", OWN, versions[0])[0] == 0
    assert store.get(OWN).ir_folder("f32").exists()


def test_detector(run: Any, store: Store) -> None:
    """A detector's versions are used and removed like a model's."""
    for number in range(2):
        data = onnx_of(number)
        known = dataclasses.replace(
            manifest.load_detector("yunet"), files=(listed("y.onnx", data),)
        )
        written(store.root.parent, "y.onnx", data)
        importing.install(store, known, [str(store.root.parent / "y.onnx")])
    (other,) = {*store.versions("yunet")} - {store.get_detector("yunet").version}
    assert run("use", "yunet", other)[0] == 0
    assert store.get_detector("yunet").version == other
