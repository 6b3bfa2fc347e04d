"""The stand-in checkpoints."""

import csv
import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from face_embedding_models import formats, manifest
from face_embedding_models.errors import ModelError
from face_embedding_models.mxnet import networks, params, symbol, synthesis
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store
from support import MOBILE, RESNET34, Golden

# Of the parameters followed by the symbol. They name embedding spaces, so they must never change.
DIGESTS = {
    MOBILE: "52bcc8e1b4956c10ab7de85fda286bfd0d714782a7bc9fed22c5e2e1fdb4c66a",
    RESNET34: "4585bcb01fd1b166f32de448488789b39f852344e12102c08dc70d7eb835281f",
}
NOISE_SIGMA = 4  # Gray levels.


@cache
def stand_in(name: str) -> dict[str, bytes]:
    return synthesis.synthesize(manifest.load(name))


@pytest.mark.parametrize("name", DIGESTS)
def test_digest(name: str) -> None:
    """A stand-in has the same bytes on every machine."""
    assert formats.digest("mxnet", stand_in(name)) == DIGESTS[name]


def test_repeats() -> None:
    """A stand-in has the same bytes every time."""
    assert synthesis.synthesize(manifest.load(MOBILE)) == stand_in(MOBILE)


@pytest.mark.parametrize("name", DIGESTS)
def test_finite(name: str) -> None:
    """Every value of a stand-in is finite."""
    arrays = params.parse(stand_in(name)[formats.PARAMS_FILE])
    assert [key for key, array in arrays.items() if not np.isfinite(array).all()] == []


def test_resnet34_parameters(test_data: Path) -> None:
    """The ResNet34 stand-in has the names, kinds and shapes of the published parameters."""
    with (test_data / "r34_parameters.csv").open() as file:
        expected = {f"{row['kind']}:{row['name']}": row["shape"] for row in csv.DictReader(file)}
    arrays = params.parse(stand_in(RESNET34)[formats.PARAMS_FILE])
    assert {name: "x".join(map(str, a.shape)) for name, a in arrays.items()} == expected


def graph_of(text: bytes) -> list[tuple[str, str, list[str]]]:
    """Return operator, name and names of inputs of every node."""
    nodes = symbol.parse(text).nodes
    return [(n.op, n.name, [nodes[index].name for index in n.inputs]) for n in nodes]


def test_mobilefacenet_graph(test_data: Path) -> None:
    """The MobileFaceNet stand-in has the published graph, node for node."""
    published = (test_data / "models" / "model-y1-test2" / "model-symbol.json").read_bytes()
    assert graph_of(stand_in(MOBILE)[formats.SYMBOL_FILE]) == graph_of(published)


def test_unknown_family() -> None:
    """A manifest with a family that is not known is refused with the ones that are."""
    known = manifest.load(MOBILE)
    other = dataclasses.replace(known, network=manifest.Network("vit"))
    message = "no network family is called 'vit', known are resnet-e-ir, mobilefacenet"
    with pytest.raises(ModelError, match=message):
        networks.build(other)


Array = NDArray[np.float32]


@pytest.fixture(scope="module", params=["store", "resnet34_store"])
def embeddings(request: pytest.FixtureRequest, golden: Golden) -> tuple[Array, Array]:
    """What a stand-in makes of the faces, and of the same with slight noise."""
    store: Store = request.getfixturevalue(request.param)
    network = ir.read(store.get(store.names()[0]))
    compiled = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    faces = np.stack(golden.faces).astype(np.float32).transpose(0, 3, 1, 2)
    noise = np.random.default_rng(7).normal(0, NOISE_SIGMA, faces.shape)
    noisy = np.clip(faces + noise, 0, 255).astype(np.float32)
    return compiled(np.ascontiguousarray(faces))[0], compiled(np.ascontiguousarray(noisy))[0]


def cosines(first: Array, second: Array) -> Array:
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    return first @ second.T / lengths


def test_images_differ(embeddings: tuple[Array, Array]) -> None:
    """A stand-in tells every two images apart."""
    between = cosines(embeddings[0], embeddings[0])
    assert between[~np.eye(len(between), dtype=bool)].max() < 0.9


def test_noise_is_slight(embeddings: tuple[Array, Array]) -> None:
    """Slight noise moves a stand-in's embedding only slightly."""
    assert np.diag(cosines(*embeddings)).min() > 0.98


def test_scale(embeddings: tuple[Array, Array]) -> None:
    """A stand-in's embeddings have values near unit scale."""
    assert 0.3 < embeddings[0].std() < 3
