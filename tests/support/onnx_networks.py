"""Networks as ONNX, in the forms that exporters make, written from MXNet checkpoints."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from face_embedding_models import manifest
from face_embedding_models.manifest import ChannelOrder, Manifest
from face_embedding_models.mxnet.checkpoint import Checkpoint
from face_embedding_models.mxnet.symbol import VARIABLE, Node

MEAN, SCALE = 127.5, 128.0
# Before it, weights are inputs too, and a normalisation tells whether it is one a channel.
_OPSET_OF_WEIGHTS_ALONE = 9
_IR_VERSIONS = {True: 3, False: 8}


@dataclass(frozen=True)
class Form:
    """How a file says what the network is.

    Args:
        opset: the version of the operators.
        batch: the first side of the input.
        slopes: the shape of PReLU's slopes.
        normalises: whether the network subtracts the mean and divides by the scale itself.
        weights: their type; `f16 inside` is float16 between two casts, `f16 cast` is float16 that
            is cast to float before it is used.
        channel_order: what the network takes.
    """

    opset: int = 13
    batch: Literal["N", 1] = "N"
    slopes: Literal["[C]", "[C,1,1]"] = "[C,1,1]"
    normalises: bool = True
    weights: Literal["f32", "f16", "f16 inside", "f16 cast"] = "f32"
    channel_order: ChannelOrder = "RGB"

    def __str__(self) -> str:
        return "-".join(str(value).replace(" ", "_") for value in vars(self).values())


def as_onnx(checkpoint: Checkpoint, known: Manifest, form: Form | None = None) -> bytes:
    """Write a checkpoint as an ONNX file.

    Args:
        checkpoint: a network that takes RGB.
        known: its manifest.
        form: how to write it.
    """
    return as_model(checkpoint, known, form).SerializeToString()


def as_model(checkpoint: Checkpoint, known: Manifest, form: Form | None = None) -> onnx.ModelProto:
    """Do the same, and return it as it can be changed."""
    form = form or Form()
    writer = _Writer(checkpoint, form)
    name = known.output.name
    writer.write(checkpoint.symbol.index_of(name))
    given, size = known.input, known.output.size
    shape = [form.batch, 3, given.height, given.width]
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [form.batch, size])],
        [numpy_helper.from_array(array, key) for key, array in writer.weights.items()],
    )
    _WEIGHTS[form.weights](graph)
    old = form.opset < _OPSET_OF_WEIGHTS_ALONE
    if old:
        graph.input.extend(
            helper.make_tensor_value_info(each.name, each.data_type, each.dims)
            for each in graph.initializer
        )
    opset = helper.make_opsetid("", form.opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSIONS[old])
    onnx.checker.check_model(model)
    return model


def described(
    form: Form | None = None, *, name: str = "mine", size: int = 128, side: int = 112
) -> Manifest:
    """Return the manifest of somebody's own network in a form."""
    return manifest.parse(described_as_toml(form, name=name, size=size, side=side))


def described_as_toml(
    form: Form | None = None, *, name: str = "mine", size: int = 128, side: int = 112
) -> str:
    """Return the same as TOML."""
    form = form or Form()
    mean, scale = (0.0, 1.0) if form.normalises else (MEAN, SCALE)
    return f"""
name = "{name}"
description = "a network of my own"
format = "onnx"
[license]
name = "mine"
terms = "For tests."
[input]
width = {side}
height = {side}
channel_order = "{form.channel_order}"
mean = {mean}
scale = {scale}
[output]
size = {size}
"""


@dataclass
class _Writer:
    """Collects the operators and the weights of a graph."""

    checkpoint: Checkpoint
    form: Form
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    permuted: bool = False

    def write(self, target: int) -> None:
        symbol = self.checkpoint.symbol
        names: dict[int, str] = {}
        for index in symbol.reachable_from(target):
            node = symbol.nodes[index]
            inputs = [names[source] for source in node.inputs]
            if node.op != VARIABLE:
                names[index] = _OPERATORS[node.op](self, node, inputs)
                continue
            names[index] = node.name
            if node.name in self.checkpoint.arrays:
                self.weights[node.name] = self.checkpoint.arrays[node.name].astype(np.float32)

    def add(self, op: str, node: Node, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [node.name], node.name, **attributes))
        return node.name

    def skip(self, _: Node, inputs: list[str]) -> str:
        return inputs[0]

    def scalar(self, op: str, node: Node, inputs: list[str]) -> str:
        if not self.form.normalises:
            return inputs[0]
        name = f"{node.name}_scalar"
        self.weights[name] = np.array(float(node.attributes["scalar"]), np.float32)
        return self.add(op, node, [*inputs, name])

    def convolution(self, node: Node, inputs: list[str]) -> str:
        if self.form.channel_order == "BGR" and not self.permuted:
            self.weights[inputs[1]] = np.ascontiguousarray(self.weights[inputs[1]][:, ::-1])
        self.permuted = True
        pads = _pair(node, "pad", "(0, 0)")
        return self.add(
            "Conv",
            node,
            inputs,
            kernel_shape=_pair(node, "kernel", ""),
            pads=[*pads, *pads],
            strides=_pair(node, "stride", "(1, 1)"),
            group=int(node.attributes.get("num_group", "1")),
        )

    def normalisation(self, node: Node, inputs: list[str]) -> str:
        if node.attributes.get("fix_gamma", "True") == "True":
            self.weights[inputs[1]] = np.ones_like(self.weights[inputs[1]])
        # MXNet's exporter wrote 0, which means nothing for one value a channel.
        old = {"spatial": 0} if self.form.opset < _OPSET_OF_WEIGHTS_ALONE else {}
        epsilon = float(node.attributes.get("eps", "0.001"))
        return self.add("BatchNormalization", node, inputs, epsilon=epsilon, **old)

    def slopes(self, node: Node, inputs: list[str]) -> str:
        if self.form.slopes == "[C,1,1]":
            self.weights[inputs[1]] = self.weights[inputs[1]].reshape(-1, 1, 1)
        return self.add("PRelu", node, inputs)

    def sum(self, node: Node, inputs: list[str]) -> str:
        return self.add("Add", node, inputs)

    def fully_connected(self, node: Node, inputs: list[str]) -> str:
        flat = self.add("Flatten", Node("", f"{node.name}_flat"), inputs[:1], axis=1)
        return self.add("Gemm", node, [flat, *inputs[1:]], transB=1)


_Operator: TypeAlias = Callable[[_Writer, Node, list[str]], str]
_OPERATORS: dict[str, _Operator] = {
    "_copy": _Writer.skip,
    "Dropout": _Writer.skip,
    "_minus_scalar": lambda writer, *node: writer.scalar("Sub", *node),
    "_mul_scalar": lambda writer, *node: writer.scalar("Mul", *node),
    "Convolution": _Writer.convolution,
    "BatchNorm": _Writer.normalisation,
    "LeakyReLU": _Writer.slopes,
    "elemwise_add": _Writer.sum,
    "_Plus": _Writer.sum,
    "FullyConnected": _Writer.fully_connected,
}


def _pair(node: Node, key: str, default: str) -> list[int]:
    return list(ast.literal_eval(node.attributes.get(key, default)))


def _keep(_: onnx.GraphProto) -> None:
    pass


def _halve(graph: onnx.GraphProto, *, ends: bool) -> None:
    """Make all weights float16, and the ends too, or put casts there."""
    for tensor in graph.initializer:
        tensor.CopyFrom(_half(tensor, tensor.name))
    if ends:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
        return
    first, last = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.input[:] = [f"{name}_half" if name == first else name for name in node.input]
        node.output[:] = [f"{name}_half" if name == last else name for name in node.output]
    graph.node.insert(0, _cast(first, f"{first}_half", TensorProto.FLOAT16))
    graph.node.append(_cast(f"{last}_half", last, TensorProto.FLOAT))


def _halve_filters(graph: onnx.GraphProto) -> None:
    """Keep the filters as float16, with a cast in front of each use."""
    for tensor in graph.initializer:
        if len(tensor.dims) > 1:
            name = tensor.name
            tensor.CopyFrom(_half(tensor, f"{name}_half"))
            graph.node.insert(0, _cast(tensor.name, name, TensorProto.FLOAT))


def _half(tensor: TensorProto, name: str) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"cast_{target}", to=kind)


_WEIGHTS: dict[str, Callable[[onnx.GraphProto], None]] = {
    "f32": _keep,
    "f16": partial(_halve, ends=True),
    "f16 inside": partial(_halve, ends=False),
    "f16 cast": _halve_filters,
}
