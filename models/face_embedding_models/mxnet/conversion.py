"""From an MXNet checkpoint to an OpenVINO model.

OpenVINO has had no front end for MXNet since 2024.0; this is one for face recognition networks.
The model it makes takes `data`, f32 NCHW `[?,3,H,W]`, 0 to 255, channels **BGR**, whatever the
network's own order is, as the published IR does. The network itself subtracts 127.5 and
multiplies by 0.0078125; nothing else may normalise.
"""

from collections import Counter

import numpy as np
import openvino as ov
import openvino.opset13 as ops

from face_embedding_models import bounds
from face_embedding_models.errors import ConversionError, ModelError, UnsupportedOperatorError
from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet.attributes import Attributes
from face_embedding_models.mxnet.checkpoint import Checkpoint
from face_embedding_models.mxnet.operators import CONVERTERS, Operation, Value, constant
from face_embedding_models.mxnet.symbol import VARIABLE, Node


def convert(checkpoint: Checkpoint, manifest: Manifest) -> ov.Model:
    """Convert the part of a checkpoint's network that computes the embedding.

    Returns:
        A model with the input `manifest.input.name` and the output `manifest.output.ir_name`.

    Raises:
        UnsupportedOperatorError: for an operator or an attribute that is not known; the message
            names the node.
        ConversionError: if the network is otherwise not what the manifest describes.
        CheckpointError: if the network has no node `manifest.output.name`.
    """
    symbol = checkpoint.symbol
    target = symbol.index_of(manifest.output.name)
    indices = symbol.reachable_from(target)
    uses = Counter(source for index in indices for source in symbol.nodes[index].inputs)
    used_names = {symbol.nodes[index].name for index in indices}
    unused = sorted(checkpoint.arrays.keys() - used_names)
    if unused:
        raise ConversionError(
            f"the array '{unused[0]}' plays no part in the output '{manifest.output.name}'"
        )
    parameter = _input_of(manifest)
    values: dict[int, Value] = {}
    for index in indices:
        node = symbol.nodes[index]
        if node.op != VARIABLE:
            values[index] = _convert_node(node, values, uses)
        elif node.name == manifest.input.name:
            order = manifest.input.channel_order
            values[index] = Value(parameter.output(0), bgr=order == "RGB")
        else:
            values[index] = _constant_of(node, checkpoint)
    return _model(parameter, values[target].output, manifest)


def _input_of(manifest: Manifest) -> ov.Node:
    shape = ov.PartialShape([-1, 3, manifest.input.height, manifest.input.width])
    parameter = ops.parameter(shape, np.float32, name=manifest.input.name)
    parameter.output(0).set_names({manifest.input.name})
    return parameter


def _constant_of(node: Node, checkpoint: Checkpoint) -> Value:
    array = checkpoint.arrays.get(node.name)
    if array is None:
        raise ConversionError(f"the parameters have no array '{node.name}', which the symbol needs")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ConversionError(f"the array '{node.name}' holds values that are not finite")
    return Value(constant(values), array=values)


def _convert_node(node: Node, values: dict[int, Value], uses: Counter[int]) -> Value:
    where = f"{node.op:.60} '{node.name:.60}'"
    converter = CONVERTERS.get(node.op)
    if converter is None:
        raise UnsupportedOperatorError(f"operator {where} is not supported")
    inputs = tuple(values[source] for source in node.inputs)
    single_use = frozenset(i for i, source in enumerate(node.inputs) if uses[source] == 1)
    attributes = Attributes(where, node.attributes)
    try:
        operation = Operation(where, attributes, inputs, single_use)
        value = converter(operation)
        attributes.expect_all_read()
        if unread := set(range(len(inputs))) - operation.read:
            raise ConversionError(f"{where}: its input {min(unread)} has no meaning")
    except ModelError:
        raise
    except (RuntimeError, ValueError, IndexError, ArithmeticError, MemoryError) as error:
        raise ConversionError(f"{where}: its inputs do not fit together: {error}") from error
    bounds.check_result(where, value.output.get_partial_shape())
    if value not in inputs:
        # Only the last operator of a folded chain is in the model, under its own name.
        value.output.get_node().set_friendly_name(node.name)
    return value


def _model(parameter: ov.Node, output: ov.Output, manifest: Manifest) -> ov.Model:
    expected = ov.PartialShape([-1, manifest.output.size])
    if output.get_partial_shape() != expected:
        raise ConversionError(
            f"the output '{manifest.output.name}' has the shape "
            f"{output.get_partial_shape()}; the manifest says {expected}"
        )
    output.get_node().set_friendly_name(manifest.output.ir_name)
    output.set_names({manifest.output.ir_name})
    result = ops.result(output)
    return ov.Model([result], [parameter], manifest.name)
