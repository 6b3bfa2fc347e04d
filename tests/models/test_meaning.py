"""What a network that means nothing is refused for, wherever it would be put to use."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from face_embedding_models import manifest, meaning
from face_embedding_models.errors import MeaninglessError
from face_embedding_models.openvino import ir
from face_embedding_models.openvino.running import compile_for, embed_samples
from face_embedding_models.sample_faces import Image
from face_embedding_models.store import Store
from face_embedding_server.cli.main import main
from support import MOBILE, SYNTHETIC
from support.broken_onnx import MANIFEST, graph, with_values
from support.older_store import changed, constant, put

NAMES = ("a", "b", "c")
ONES = np.ones(12, np.float32)
SIGNS = np.random.default_rng(0).choice([-1.0, 1.0], (3, 128))
OTHERS = np.random.default_rng(0).standard_normal((3, 128))
# Of twelve colours, four a channel, those of one channel, and those on the left.
WITHOUT_GREEN = np.repeat([1, 0, 1], 4).astype(np.float32)
WITHOUT_LEFT = np.tile([0, 1], 6).astype(np.float32)


def set_row(number: int, values: object) -> np.ndarray:
    """Return embeddings of which one is another."""
    rows = OTHERS.copy()
    rows[number] = values
    return rows


EMBEDDINGS = {
    "not a number": (set_row(1, np.nan), "the embedding of b holds values that are not finite"),
    "infinite": (set_row(2, np.inf), "the embedding of c holds values that are not finite"),
    "zero": (set_row(1, 0), "the embedding of b is zero"),
    "vast": (OTHERS * 1e18, "e+19, beyond the 1e-12 to 1e+12 that can be normalised"),
    "tiny": (OTHERS * 1e-20, "e-19, beyond the 1e-12 to 1e+12 that can be normalised"),
    "constant": (np.ones((3, 128)), "are the same, with cosines of 1.0000 and above"),
    "nearly constant": (OTHERS + 6, "are the same, with cosines of 0.97"),
    "two alike": (set_row(2, OTHERS[0] * 3), "a and c, which have nothing in common, are nearly"),
    "saturated": (SIGNS, "100% of the values of the embeddings are as large as the largest, 1, so"),
    "clipped": (np.clip(OTHERS, -0.5, 0.5), "are as large as the largest, 0.5, so the output is"),
}


@pytest.mark.parametrize(("given", "message"), EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_embeddings(given: np.ndarray, message: str) -> None:
    """Embeddings that do not tell faces apart are refused by the name of what is wrong."""
    with pytest.raises(MeaninglessError) as raised:
        meaning.check(NAMES, given.astype(np.float32))
    assert message in str(raised.value)


def test_good_embeddings() -> None:
    """What all of these are made from is taken."""
    meaning.check(NAMES, OTHERS.astype(np.float32))


def small(face: Image) -> np.ndarray:
    """Embed a face by its colours at every eighth pixel."""
    return (face[::8, ::8].astype(np.float32) - 127.5).ravel()


BLIND: dict[str, tuple[Callable[[Image], np.ndarray], str]] = {
    "place": (lambda face: face.mean(axis=(0, 1)).astype(np.float32), "where it is upside down"),
    "blue": (lambda face: small(face[..., 1:]), "where its blue channel is another's"),
    "red": (lambda face: small(face[..., :2]), "where its red channel is another's"),
    "the right": (lambda face: small(face[:, :74]), "where its upper right is another's"),
    "the bottom": (lambda face: small(face[:74]), "where its lower left is another's"),
    "the frame": (lambda face: small(face[38:74, 38:74]), "its upper left is another's"),
    "other faces": (lambda face: small(face) / (face[0, 0, 0] == 90), "values that are not fin"),
}


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize(("embed", "message"), BLIND.values(), ids=BLIND)
def test_sight(embed: Callable[[Image], np.ndarray], message: str) -> None:
    """A network that does not look at all of a face is refused by what it does not see."""
    with pytest.raises(MeaninglessError) as raised:
        meaning.check_sight(embed, 112, 112)
    assert message in str(raised.value)


def test_good_sight() -> None:
    """What all of these are made from is taken."""
    meaning.check_sight(small, 112, 112)


CHECKPOINTS: dict[str, tuple[dict[str, float | np.ndarray], str]] = {
    "overflowing": ({"conv_1_conv2d_weight": 1e38}, "drawn-0 holds values that are not finite"),
    "dominated by a bias": ({"fc1_beta": 100}, "which have nothing in common, are nearly the same"),
    "blind to red": (
        {"conv_1_conv2d_weight": np.array([0, 1, 1]).reshape(1, 3, 1, 1)},
        "where its red channel is another's",
    ),
}


def test_trained(trained_store: Store) -> None:
    """The trained MobileFaceNet's embeddings are far from every bound."""
    model = trained_store.get(MOBILE)
    compiled = compile_for(ir.read(model), "f32")
    golden = embed_samples(compiled, model.manifest.input).astype(np.float64)
    directions = golden / np.linalg.norm(golden, axis=1, keepdims=True)
    cosines = directions @ directions.T - np.eye(len(golden))
    assert cosines.max() < 0.88  # Measured 0.8693.


@pytest.mark.parametrize(("factors", "message"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_import(
    factors: dict[str, float | np.ndarray], message: str, trained_store: Store, tmp_path: Path
) -> None:
    """A checkpoint that means nothing is refused, and the version in use is the one before."""
    store = Store(tmp_path / "store")
    shutil.copytree(trained_store.root, store.root)
    before = store.get(MOBILE)
    files = changed(before, **factors)
    with pytest.raises(MeaninglessError, match=message):
        ir.put_to_use(store, manifest.load(MOBILE), files, SYNTHETIC)
    assert (store.get(MOBILE), store.versions(MOBILE)) == (before, [before.version])


ONNX = {
    "nearly the same": (with_values("Add", ONES * 1000), "are the same, with cosines of"),
    "blind to green": (with_values("Mul", WITHOUT_GREEN), "where its green channel is another's"),
    "blind on the left": (with_values("Mul", WITHOUT_LEFT), "its upper left is another's"),
}


@pytest.mark.parametrize(("network", "message"), ONNX.values(), ids=ONNX)
def test_onnx(network: object, message: str, take: Callable[..., tuple[int, str]]) -> None:
    """A user's own network that means nothing is refused too."""
    status, told = take(network.SerializeToString())  # type: ignore[attr-defined]
    assert (status, message in told) == (2, True)


@pytest.mark.parametrize("command", ["use", "convert"])
def test_older_store(
    command: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier program let in is refused when it is to be used or converted again."""
    own = Store(tmp_path / "store")
    shutil.copytree(store.root, own.root)
    good = own.get(MOBILE)
    bad = put(own, constant(good))
    if command == "use":
        own.use(good)
    files = own.get(MOBILE).fingerprint
    version = [bad.version] if command == "use" else []
    assert main(["models", command, MOBILE, *version, "--store", str(own.root)]) == 2
    assert "faces that have nothing in common are the same" in capsys.readouterr().err
    assert own.get(MOBILE).fingerprint == files


def test_whole_network(take: Callable[..., tuple[int, str]]) -> None:
    """The small network that these are made from is taken."""
    assert take(graph().SerializeToString(), MANIFEST)[0] == 0
