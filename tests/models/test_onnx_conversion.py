"""ONNX networks as OpenVINO models: the trained MobileFaceNet in the forms that exporters make."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import helper, numpy_helper

from face_embedding_models import formats, manifest
from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import checkpoint
from face_embedding_models.mxnet.checkpoint import Checkpoint
from face_embedding_models.onnx import conversion
from face_embedding_models.openvino import ir, running
from face_embedding_models.store import Store
from support import MOBILE, RESNET34, Golden
from support.onnx_networks import Form, as_model, as_onnx, described

KNOWN = manifest.load(MOBILE)
# Measured 3e-7, on unit embeddings; their values reach 0.3.
TOLERANCE = 5e-5
# Measured 6e-4: the weights themselves are rounded.
HALF_TOLERANCE = 1e-2
# Each opset with every two of the other choices together.
CHOICES = (
    ("N", "[C]", True),
    ("N", "[C,1,1]", False),
    (1, "[C]", False),
    (1, "[C,1,1]", True),
)
FULL = [Form(opset, *choice) for opset in (8, 9, 11, 13, 17, 21) for choice in CHOICES]
HALF = [
    Form(opset, *choice, weights=weights)
    for weights in ("f16", "f16 inside", "f16 cast")
    for opset, choice in ((8, CHOICES[2]), (13, CHOICES[0]), (17, CHOICES[1]), (21, CHOICES[3]))
]


@dataclasses.dataclass(frozen=True)
class Converted:
    """The trained network, converted from a form."""

    form: Form
    network: ov.Model


@pytest.fixture(scope="module")
def trained(test_data: Path) -> Checkpoint:
    folder = test_data / "models" / "model-y1-test2"
    names = (formats.SYMBOL_FILE, formats.PARAMS_FILE)
    return checkpoint.parse(*((folder / name).read_bytes() for name in names))


@pytest.fixture(scope="module", params=[*FULL, *HALF], ids=str)
def converted(
    request: pytest.FixtureRequest, trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Converted:
    form: Form = request.param
    folder = tmp_path_factory.mktemp("onnx")
    return Converted(form, convert(as_onnx(trained, KNOWN, form), described(form), folder))


def convert(data: bytes, known: Manifest, folder: Path) -> ov.Model:
    """Convert an ONNX file here; a process of its own does the same more slowly."""
    (folder / "model.onnx").write_bytes(data)
    return conversion.convert(folder / "model.onnx", known)


def embed(network: ov.Model, faces: list[np.ndarray]) -> np.ndarray:
    """Return unit embeddings of faces, one by one."""
    return unit(running.embed(running.compile_for(network, "f32"), faces))


def unit(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def test_interface(converted: Converted) -> None:
    """Whatever the form, the model takes `data`, f32 [?,3,112,112], and gives `pre_fc1`, f32."""
    given, taken = converted.network.inputs, converted.network.outputs
    assert [(port.any_name, str(port.element_type)) for port in (*given, *taken)] == [
        ("data", "<Type: 'float32'>"),
        ("pre_fc1", "<Type: 'float32'>"),
    ]
    assert given[0].partial_shape == ov.PartialShape([-1, 3, 112, 112])
    assert taken[0].partial_shape == ov.PartialShape([-1, 128])


def test_golden(converted: Converted, golden: Golden) -> None:
    """Fed with BGR, 0 to 255, it gives what MXNet alone gave for the network."""
    tolerance = TOLERANCE if converted.form.weights == "f32" else HALF_TOLERANCE
    embeddings = embed(converted.network, golden.faces[:6])
    expected = unit(golden.embeddings[:6])
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=tolerance)


def test_computes_in_f32(converted: Converted) -> None:
    """Nothing is computed in float16, whatever the file has."""
    types = {
        port.get_element_type() for node in converted.network.get_ops() for port in node.outputs()
    }
    assert {kind for kind in types if kind.is_real()} == {ov.Type.f32}


def test_normalisations_are_in_the_filters(converted: Converted) -> None:
    """Nothing is left of the normalisations but filters and sums, as int8 needs it."""
    kinds = {node.get_type_name() for node in converted.network.get_ops()}
    assert not kinds & {"BatchNormInference", "Divide", "Concat", "Gather"}


@pytest.mark.parametrize("batch", ["N", 1])
def test_several_faces_at_once(
    batch: str, trained: Checkpoint, golden: Golden, tmp_path: Path
) -> None:
    """Faces give the same together as one by one, also where the file fixes the batch at one."""
    form = Form(batch=batch)
    network = convert(as_onnx(trained, KNOWN, form), described(form), tmp_path)
    compiled = running.compile_for(network, "f32")
    together = compiled(np.concatenate([running.as_input(face) for face in golden.faces]))[0]
    np.testing.assert_allclose(together, running.embed(compiled, golden.faces), rtol=0, atol=1e-5)


@pytest.mark.parametrize("normalises", [True, False])
def test_bgr(normalises: bool, trained: Checkpoint, golden: Golden, tmp_path: Path) -> None:
    """A network that takes BGR, and whose manifest says so, gives the same embeddings."""
    form = Form(normalises=normalises, channel_order="BGR")
    network = convert(as_onnx(trained, KNOWN, form), described(form), tmp_path)
    np.testing.assert_allclose(
        embed(network, golden.faces), unit(golden.embeddings), rtol=0, atol=TOLERANCE
    )


def test_wrong_channel_order(trained: Checkpoint, golden: Golden, tmp_path: Path) -> None:
    """A network for RGB whose manifest says BGR gives other embeddings."""
    wrong = described(Form(channel_order="BGR"))
    network = convert(as_onnx(trained, KNOWN, Form()), wrong, tmp_path)
    cosines = (embed(network, golden.faces) * unit(golden.embeddings)).sum(axis=1)
    assert cosines.max() < 0.99  # Measured 0.981.


def test_flattened_batch(trained: Checkpoint, golden: Golden, tmp_path: Path) -> None:
    """Where the file flattens the batch of one as well, several faces are still told apart."""
    model = as_model(trained, KNOWN, Form(batch=1))
    (flatten,) = (node for node in model.graph.node if node.op_type == "Flatten")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "row"))
    flatten.CopyFrom(helper.make_node("Reshape", [flatten.input[0], "row"], flatten.output))
    network = convert(model.SerializeToString(), described(), tmp_path)
    compiled = running.compile_for(network, "f32")
    together = compiled(np.concatenate([running.as_input(face) for face in golden.faces]))[0]
    np.testing.assert_allclose(unit(together), unit(golden.embeddings), rtol=0, atol=TOLERANCE)


def test_batch_of_one(tmp_path: Path) -> None:
    """A graph that can take one face only is converted to a model that takes one face."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 13]>
        pools (float[N,3,112,112] data) => (float[1,12] row) <int64[2] shape = {1, -1}> {
          pooled = AveragePool <kernel_shape = [56, 56], strides = [56, 56]> (data)
          row = Reshape(pooled, shape)
        }""")
    network = convert(model.SerializeToString(), described(size=12), tmp_path)
    face = np.full((112, 112, 3), (1, 2, 3), np.uint8)
    assert network.input().partial_shape == ov.PartialShape([1, 3, 112, 112])
    embedding = running.embed(running.compile_for(network, "f32"), [face])
    np.testing.assert_allclose(embedding, [np.repeat([3, 2, 1], 4)], rtol=1e-6)


@pytest.mark.parametrize("name", ["fc1", "pre_fc1"])
def test_output_by_name(name: str, trained: Checkpoint, golden: Golden, tmp_path: Path) -> None:
    """Of several outputs the one is taken that the manifest names."""
    model = as_model(trained, KNOWN)
    extra = helper.make_tensor_value_info("pre_fc1", onnx.TensorProto.FLOAT, ["N", 128])
    model.graph.output.append(extra)
    known = described()
    known = dataclasses.replace(known, output=dataclasses.replace(known.output, name=name))
    network = convert(model.SerializeToString(), known, tmp_path)
    assert network.output().any_name == "pre_fc1"
    far = np.abs(embed(network, golden.faces) - unit(golden.embeddings)).max()
    assert (far < TOLERANCE) == (name == "fc1")


def test_input_by_name(trained: Checkpoint, tmp_path: Path) -> None:
    """The input may be called anything, and is called `data` afterwards."""
    model = as_model(trained, KNOWN)
    model.graph.input[0].name = "input.1"
    for node in model.graph.node:
        node.input[:] = ["input.1" if name == "data" else name for name in node.input]
    known = described()
    known = dataclasses.replace(known, input=dataclasses.replace(known.input, name="input.1"))
    network = convert(model.SerializeToString(), known, tmp_path)
    assert network.input().any_name == "data"


@pytest.mark.slow
def test_residual_network(resnet34_store: Store, tmp_path: Path) -> None:
    """The ResNet34 stand-in gives the same as ONNX as from MXNet's files."""
    stored = resnet34_store.get(RESNET34)
    given, form = stored.manifest, Form(11, normalises=False)
    data = as_onnx(stored.read_checkpoint(), given, form)
    network = convert(data, described(form, size=512), tmp_path)
    faces = [face.pixels_bgr for face in ir.sample_faces(112, 112)]
    np.testing.assert_allclose(
        embed(network, faces), unit(ir.read_golden(stored)), rtol=0, atol=TOLERANCE
    )
