"""OpenVINO IR made from checkpoints."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import ConversionError, ModelError, StoreError
from face_embedding_models.mxnet import checkpoint, conversion, params, synthesis
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store
from face_embedding_models.store.stored import StoredModel
from support import MOBILE, SYNTHETIC, Golden

# Of raw values, whose root mean square is about 1; measured 4e-6.
GOLDEN_TOLERANCE = 5e-5


@pytest.fixture
def own_copy(store: Store, tmp_path: Path) -> StoredModel:
    """A converted model that a test may change."""
    shutil.copytree(store.root, tmp_path / "copy")
    return Store(tmp_path / "copy").get(MOBILE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in manifest.names() if manifest.load(n).network])
def test_parameters(name: str) -> None:
    """A stand-in has as many parameters as its publishers say."""
    known = manifest.load(name)
    network = conversion.convert(checkpoint.parse(*synthesis.synthesize(known).values()), known)
    assert round(ir.cost(network).mparams, 3) == known.published.mparams


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fixture", "mparams", "gflops"),
    [("resnet34_store", 34.129, 8.93), ("store", 0.993, 0.45)],
    ids=["resnet34", "mobilefacenet"],
)
def test_cost(request: pytest.FixtureRequest, fixture: str, mparams: float, gflops: float) -> None:
    """A network with plain or grouped convolutions costs what its publishers say."""
    store: Store = request.getfixturevalue(fixture)
    cost = ir.cost(ir.read(store.get(store.names()[0])))
    assert (round(cost.mparams, 3), round(cost.gflops, 2)) == (mparams, gflops)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (0, f"{MOBILE}: the embedding of drawn-0 is zero"),
        (1, f"{MOBILE}: the embeddings of faces that have nothing in common are the same, with"),
    ],
    ids=["zero", "the same"],
)
def test_no_embeddings(bias: float, message: str, store: Store, tmp_path: Path) -> None:
    """A checkpoint that gives every face the same is refused, and the store holds nothing."""
    symbol_bytes, params_bytes = store.get(MOBILE).read_checkpoint_files()
    arrays = params.parse(params_bytes)
    arrays["arg:fc1_weight"] = np.zeros_like(arrays["arg:fc1_weight"])
    arrays["arg:pre_fc1_bias"] = np.full_like(arrays["arg:pre_fc1_bias"], bias)
    files = checkpoint.files(symbol_bytes, params.dump(arrays))
    with pytest.raises(ConversionError) as raised:
        ir.put_to_use(Store(tmp_path), manifest.load(MOBILE), files, SYNTHETIC)
    assert str(raised.value).startswith(message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["fc1", "data"])
def test_wrong_network(store: Store, tmp_path: Path, missing: str) -> None:
    """A network without the manifest's input or output is refused, and nothing is stored."""
    symbol_bytes, params_bytes = store.get(MOBILE).read_checkpoint_files()
    other = symbol_bytes.replace(f'"{missing}"'.encode(), b'"other"')
    files = checkpoint.files(other, params_bytes)
    with pytest.raises(ModelError, match=f"'{missing}'|'other'"):
        ir.put_to_use(Store(tmp_path), manifest.load(MOBILE), files, SYNTHETIC)
    assert not list(tmp_path.iterdir())


def test_input(store: Store) -> None:
    """The IR takes any number of f32 NCHW images under the manifest's name."""
    port = ir.read(store.get(MOBILE)).input("data")
    expected = (ov.PartialShape([-1, 3, 112, 112]), ov.Type.f32)
    assert (port.get_partial_shape(), port.get_element_type()) == expected


def test_output(store: Store) -> None:
    """The IR gives one embedding an image under the manifest's name."""
    port = ir.read(store.get(MOBILE)).output("pre_fc1")
    expected = (ov.PartialShape([-1, 128]), ov.Type.f32)
    assert (port.get_partial_shape(), port.get_element_type()) == expected


def test_f32(store: Store) -> None:
    """The IR keeps its weights at full precision."""
    ops = ir.read(store.get(MOBILE)).get_ops()
    types = {op.get_element_type() for op in ops if op.get_type_name() == "Constant"}
    assert {kind for kind in types if kind.is_real()} == {ov.Type.f32}


def test_again(own_copy: StoredModel) -> None:
    """Converting again gives the same IR and leaves nothing else behind."""
    before = own_copy.read_ir_files("f32")[1]
    ir.convert(own_copy)
    names = sorted(path.name for path in own_copy.folder.iterdir())
    assert own_copy.read_ir_files("f32")[1] == before
    assert names == ["checkpoint", "ir-f32", "parts.json"]


def test_damaged(own_copy: StoredModel) -> None:
    """An IR that was changed is not read."""
    with (own_copy.ir_folder("f32") / "model.bin").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(StoreError, match=r"model\.bin was changed since it was written"):
        ir.read(own_copy)


def test_other_precision(store: Store) -> None:
    """A precision that was not made is refused."""
    with pytest.raises(StoreError, match="has no IR at int8 in the store"):
        ir.read(store.get(MOBILE), "int8")


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_golden(trained_store: Store, golden: Golden, order: manifest.ChannelOrder) -> None:
    """The trained network converted agrees with MXNet, and takes RGB only if called BGR itself."""
    model = trained_store.get(MOBILE)
    known = model.manifest
    known = dataclasses.replace(known, input=dataclasses.replace(known.input, channel_order=order))
    network = conversion.convert(model.read_checkpoint(), known)
    compiled = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    faces = np.stack(golden.faces)[..., :: 1 if order == "RGB" else -1]
    data = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32)
    np.testing.assert_allclose(compiled(data)[0], golden.embeddings, rtol=0, atol=GOLDEN_TOLERANCE)
