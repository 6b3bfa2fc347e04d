"""A small network as ONNX, and what can be wrong with such a file."""

import io
import zipfile

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper, parser

from support.onnx_networks import described_as_toml

# Twelve mean colours make no recognition, but an embedding of faces all the same.
GRAPH = """\
<ir_version: 8, opset_import: ["" : 13]>
colours (float[N,3,112,112] data) => (float[N,12] row) {
  pooled = AveragePool <kernel_shape = [56, 56], strides = [56, 56]> (data)
  row = Flatten(pooled)
}"""
MANIFEST = described_as_toml(size=12).replace("mean = 0.0", "mean = 127.5")
LAST = "  row = Flatten(pooled)\n"


def graph(*changes: tuple[str, str]) -> onnx.ModelProto:
    """Return the network with changes to its text."""
    text = GRAPH
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parser.parse_model(text)


def last(*lines: str) -> onnx.ModelProto:
    """Return the network with another end."""
    return graph((LAST, "".join(f"  {line}\n" for line in lines)))


def with_values(op: str, values: np.ndarray, *, elsewhere: bool = False) -> onnx.ModelProto:
    """Return the network with an operator at the end that takes a weight too."""
    model = last("flat = Flatten(pooled)", f"row = {op}(flat, w)")
    tensor = numpy_helper.from_array(values, "w")
    model.graph.initializer.append(outside(tensor) if elsewhere else tensor)
    return model


def outside(tensor: TensorProto) -> TensorProto:
    """Return a tensor whose values are said to be in a file that is there."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def outside_in_constant(*, sparse: bool = False) -> onnx.ModelProto:
    """Return the network with values elsewhere that a Constant holds."""
    model = last("flat = Flatten(pooled)", "row = Add(flat, w)")
    tensor = outside(numpy_helper.from_array(np.ones(12, np.float32), "inside"))
    attribute = AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor)
    if sparse:
        places = numpy_helper.from_array(np.arange(12), "places")
        held = onnx.SparseTensorProto(values=tensor, indices=places, dims=[12])
        kind = AttributeProto.SPARSE_TENSOR
        attribute = AttributeProto(name="sparse_value", type=kind, sparse_tensor=held)
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.append(attribute)
    model.graph.node.insert(0, node)
    return model


def outside_in_branch() -> onnx.ModelProto:
    """Return the network with values elsewhere that a graph inside an operator holds."""
    model = last(
        "yes = Constant <value = bool {1}> ()",
        "flat = Flatten(pooled)",
        "row = If(yes) <then_branch = a () => (float[N,12] x) { x = Identity(flat) },"
        " else_branch = b () => (float[N,12] y) { y = Add(flat, inside) }>",
    )
    tensor = outside(numpy_helper.from_array(np.ones(12, np.float32), "inside"))
    model.graph.node[3].attribute[1].g.initializer.append(tensor)
    return model


def outside_in_function() -> onnx.ModelProto:
    """Return the network with values elsewhere that a function of its own holds."""
    model = outside_in_constant()
    constant = model.graph.node[0]
    opset = helper.make_opsetid("", 13)
    model.functions.append(helper.make_function("own", "F", [], ["w"], [constant], [opset]))
    model.graph.node[0].CopyFrom(helper.make_node("F", [], ["w"], domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def of_type(number: int) -> onnx.ModelProto:
    model = graph()
    model.graph.input[0].type.tensor_type.elem_type = number
    return model


def cut_half() -> onnx.ModelProto:
    """Return the network with a float16 weight that has half a value too much."""
    model = with_values("Add", np.ones(12, np.float16))
    model.graph.initializer[0].raw_data += b"\0"
    return model


def short() -> onnx.ModelProto:
    model = with_values("Add", np.ones(12, np.float32))
    model.graph.initializer[0].dims[0] = 2**40
    return model


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.pt", b"x")
    return buffer.getvalue()
