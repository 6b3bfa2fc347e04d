"""An ONNX file in the form in which every engine computes the same from it, at f32.

Some files are float16 throughout, and engines round what they compute to that in places of their
own choice; and some were written against the rules, which one engine forgives and the next does
not. What is changed here changes no weight.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

_IR_VERSION_OF_WEIGHTS_ALONE = 4
_HALF, _FULL = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def at_f32(data: bytes) -> bytes:
    """Return an ONNX file with the weights of another, whose network computes in float."""
    model = onnx.ModelProto.FromString(data)
    for graph in _graphs(model.graph):
        _widen(graph)
        _drop_spatial(graph)
    _fix_weights(model)
    _shape_slopes(model)
    return model.SerializeToString()


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the graphs inside its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _widen(graph: onnx.GraphProto) -> None:
    """Make float16 float throughout: weights, constants, casts, and the types of values."""
    constants = [
        attribute.t
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type == _HALF:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
                attribute.i = _FULL
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == _HALF:
            value.type.tensor_type.elem_type = _FULL


def _drop_spatial(graph: onnx.GraphProto) -> None:
    """Drop `spatial` of 0, which has no meaning for one value a channel, as MXNet exported it."""
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            for attribute in list(node.attribute):
                if attribute.name == "spatial" and attribute.i == 0:
                    node.attribute.remove(attribute)


def _fix_weights(model: onnx.ModelProto) -> None:
    """Take weights out of the inputs, where files before IR version 4 had to list them too.

    As inputs they have a shape of their own, which has to be that of the weights.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _IR_VERSION_OF_WEIGHTS_ALONE)


def _shape_slopes(model: onnx.ModelProto) -> None:
    """Give PReLU's slopes a channel the shape `[C,1,1]` that ONNX's broadcasting needs.

    Exporters of MXNet wrote them as `[C]`.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    flat = {
        node.input[1]: node.input[0]
        for node in model.graph.node
        if node.op_type == "PRelu"
        and node.input[1] in weights
        and len(weights[node.input[1]].dims) == 1
        and weights[node.input[1]].dims[0] > 1
    }
    if flat:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in (*inferred.value_info, *inferred.input)
        }
        for slope, source in flat.items():
            if ranks.get(source) == 4:
                weights[slope].dims.extend([1, 1])
