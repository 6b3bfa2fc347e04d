"""The manifests of the models."""

from importlib import resources

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import ManifestError, UnknownModelError

MOBILE = "face-recognition-mobilefacenet-arcface"
NAMES = [
    "adaface-ir101",
    "antelopev2",
    "arcfaceresnet100-8",
    "auraface",
    "buffalo_l",
    "buffalo_m",
    "buffalo_s",
    "buffalo_sc",
    MOBILE,
    "face-recognition-resnet100-arcface",
    "face-recognition-resnet34-arcface",
    "face-recognition-resnet50-arcface",
    "sface",
]
TEXT = (resources.files("face_embedding_models") / "manifests" / f"{MOBILE}.toml").read_text()
ONNX = """\
name = "mine"
description = "a network of my own"
format = "onnx"

[[files]]
file = "mine.onnx"
size = 5
sha256 = "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
addresses = [{ url = "https://localhost/mine.onnx", seen = "there" }]

[license]
name = "MIT"
terms = "Mine."

[input]
width = 112
height = 112
channel_order = "BGR"
mean = 127.5
scale = 128

[output]
size = 128
"""


def test_names() -> None:
    """The models that are known are these, sorted."""
    assert manifest.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_loads(name: str) -> None:
    """A manifest has the name of its file."""
    assert manifest.load(name).name == name


def test_detector() -> None:
    """A detector has a manifest without a recognition network."""
    known = manifest.load_detector("yunet")
    assert (known.name, known.format, hasattr(known, "input")) == ("yunet", "onnx", False)


@pytest.mark.parametrize("name", [*NAMES, "yunet"])
def test_origin_of_downloads(name: str) -> None:
    """Each address is of a file whose digest is known, and says where it was seen."""
    known = manifest.load_any(name)
    for download in (*known.files, *filter(None, [known.archive])):
        assert download.sha256
        assert all(address.seen for address in download.addresses)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("face-recognition-resnet43-arcface", "; did you mean 'face-recognition-resnet34-arcface'"),
        ("x", f"; known are {NAMES[0]}, {NAMES[1]}, "),
    ],
    ids=["close", "far"],
)
def test_unknown_name(name: str, hint: str) -> None:
    """An unknown name is refused with the closest one, or with all."""
    with pytest.raises(UnknownModelError, match=f"no model is called '{name}'{hint}"):
        manifest.load(name)


def test_own_manifest() -> None:
    """A manifest of one's own needs no more than what cannot be known otherwise."""
    known = manifest.parse(ONNX)
    assert (known.input.channel_order, known.input.mean, known.input.scale) == ("BGR", 127.5, 128)
    assert (known.output.name, known.network, known.parity.min_cosine) == ("", None, 0.999999)


def test_json() -> None:
    """A manifest that is kept as JSON is the same when it is read again."""
    known = manifest.parse(ONNX)
    assert manifest.from_json(manifest.to_json(known)) == known


def changed(old: str, new: str) -> str:
    assert old in ONNX
    return ONNX.replace(old, new, 1)


OF_THE_MANIFEST = "of the manifest: "
BROKEN = {
    "no TOML": (changed('name = "mine"', "name = mine"), "the manifest is no TOML: "),
    "missing": (changed("size = 128", ""), f"[output] {OF_THE_MANIFEST}the key 'size' is missing"),
    "missing table": (ONNX.split("[output]")[0], "the manifest: the key 'output' is missing"),
    "unknown": (
        f"{ONNX}\ncolour = 1",
        f"[output] {OF_THE_MANIFEST}the key 'colour' is unknown",
    ),
    "unknown above": (f"age = 1\n{ONNX}", "the manifest: the key 'age' is unknown"),
    "name is a path": (
        changed('"mine"', '"../mine"'),
        "the manifest: 'name' cannot be '../mine': String should match pattern",
    ),
    "format": (
        changed('"onnx"', '"pytorch"'),
        "the manifest: 'format' cannot be 'pytorch': Input should be 'mxnet' or 'onnx'",
    ),
    "channels": (
        changed('"BGR"', '"GRB"'),
        f"[input] {OF_THE_MANIFEST}'channel_order' cannot be 'GRB': Input should be 'RGB' or 'BGR'",
    ),
    "number as text": (
        changed("size = 128", 'size = "128"'),
        f"[output] {OF_THE_MANIFEST}'size' cannot be '128': Input should be a valid integer",
    ),
    "scale": (
        changed("scale = 128", "scale = 0"),
        f"[input] {OF_THE_MANIFEST}'scale' cannot be 0: Input should be greater than 0",
    ),
    "mean": (
        changed("mean = 127.5", "mean = nan"),
        f"[input] {OF_THE_MANIFEST}'mean' cannot be nan: Input should be a finite number",
    ),
    "digest": (
        changed("0ba9fb", "0BA9FB"),
        f"[files] {OF_THE_MANIFEST}'sha256' cannot be '0BA9FB",
    ),
    "file is a path": (
        changed('"mine.onnx"', '"a/mine.onnx"'),
        f"[files] {OF_THE_MANIFEST}'file' cannot be 'a/mine.onnx'",
    ),
    "address": (
        changed('"https:', '"ftp:'),
        f"[files.addresses] {OF_THE_MANIFEST}'url' cannot be 'ftp://localhost/mine.onnx'",
    ),
    "file of another format": (
        changed('"mine.onnx"', '"mine.params"'),
        "the manifest: [[files]] of the format onnx name one *.onnx",
    ),
    "checkpoint without names": (
        changed('"onnx"', '"mxnet"').replace("[[files]]", "[archive]"),
        "the manifest: the format mxnet needs [input] name and [output] name",
    ),
    "checkpoint with a mean": (
        TEXT.replace("[output]", "mean = 1.0\n[output]"),
        "the manifest: the format mxnet normalises inside: [input] has no mean or scale",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_broken(text: str, message: str) -> None:
    """A manifest that breaks the schema is refused with the key, and the table that it is in."""
    with pytest.raises(ManifestError) as raised:
        manifest.parse(text)
    assert str(raised.value).startswith(message)


def test_optional_keys() -> None:
    """The size of the archive and the units of the network may be left out."""
    known = manifest.parse(TEXT.replace("size = 3911771\n", ""))
    assert known.archive
    assert known.network
    assert (known.archive.size, known.network.units) == (None, ())
