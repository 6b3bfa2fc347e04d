"""The manifests of the models."""

from importlib import resources

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import ModelError, UnknownModelError

NAMES = [
    "face-recognition-mobilefacenet-arcface",
    "face-recognition-resnet100-arcface",
    "face-recognition-resnet34-arcface",
    "face-recognition-resnet50-arcface",
]
TEXT = (resources.files("face_embedding_models") / "manifests" / f"{NAMES[0]}.toml").read_text()


def test_names() -> None:
    """The models that are known are these, sorted."""
    assert manifest.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_loads(name: str) -> None:
    """A manifest has the name of its file."""
    assert manifest.load(name).name == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("face-recognition-resnet43-arcface", f"; did you mean '{NAMES[2]}'"),
        ("x", f"; known are {NAMES[0]}, {NAMES[1]}, "),
    ],
    ids=["close", "far"],
)
def test_unknown_name(name: str, hint: str) -> None:
    """An unknown name is refused with the closest one, or with all."""
    with pytest.raises(UnknownModelError, match=f"no model is called '{name}'{hint}"):
        manifest.load(name)


BROKEN = {
    "missing": (TEXT.replace("size = 128", ""), r"\[output\] of the manifest: the key 'size' is"),
    "section": (TEXT.split("[parity]")[0], "^the manifest: the key 'parity' is missing or unknown"),
    "unknown": (f"{TEXT}\ncolour = 1", r"\[parity\] of the manifest: the key 'colour' is missing"),
    "top": (f"age = 1\n{TEXT}", "^the manifest: the key 'age' is missing or unknown"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_wrong_key(text: str, message: str) -> None:
    """A key that is missing or unknown is named, with its section."""
    with pytest.raises(ModelError, match=message):
        manifest.parse(text)


def test_optional_keys() -> None:
    """The size of the archive and the units of the network may be left out."""
    known = manifest.parse(TEXT.replace("size = 3911771\n", ""))
    assert (known.source.size, known.network.units) == (None, ())
