"""MXNet's operators as OpenVINO's: one function an operator, and the table of them.

A function takes an `Operation` and returns the `Value` it makes. To support another operator,
write its function and put it under `@_operator("Name")`.

Source: the operator documentation of Apache MXNet 1.9.1 (`mxnet.apache.org/versions/1.9.1/api`)
and of OpenVINO's operation sets (`docs.openvino.ai`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from numpy.typing import NDArray

from face_embedding_models import bounds
from face_embedding_models.errors import ConversionError, UnsupportedOperatorError
from face_embedding_models.mxnet.attributes import Attributes

Array = NDArray[np.float64]
CHANNEL_AXIS = 1  # NCHW
_BGR_TO_RGB = [2, 1, 0]


@dataclass(frozen=True)
class Value:
    """An intermediate result of the network.

    Args:
        output: the OpenVINO output that computes it.
        bgr: whether its channels stand in reverse, as in the input image. Operators that treat
            channels alike pass that on; the first convolution undoes it in its weights.
        affine: for the result of a convolution or of a fully connected layer, a function that
            makes the same result multiplied by a scale and moved by a shift per channel, at no
            cost: both go into the weights.
        normalized: for the result of a BatchNorm, how it is computed. The next layer may start
            from there and take scale and shift into its weights.
        array: for a parameter, its values.
    """

    output: ov.Output
    bgr: bool = False
    affine: Callable[[Array, Array], "Value"] | None = None
    normalized: "Normalized | None" = None
    array: Array | None = None


@dataclass(frozen=True)
class Normalized:
    """The result of a BatchNorm: an output times a scale plus a shift, per channel."""

    output: ov.Output
    scale: Array
    shift: Array

    def repeated(self, times: int) -> "Normalized":
        """Return the same after flattening: each channel has become `times` features."""
        return Normalized(
            _flattened(self.output), self.scale.repeat(times), self.shift.repeat(times)
        )


@dataclass(frozen=True)
class Operation:
    """One node on its way into OpenVINO: its name, attributes and inputs.

    `read` collects which inputs were looked at: one that no one looks at is not understood.
    """

    where: str
    attributes: Attributes
    inputs: tuple[Value, ...]
    single_use_inputs: frozenset[int]
    read: set[int] = field(default_factory=set)

    def as_is(self, index: int) -> Value:
        """Return an input whose channels may still be in BGR order."""
        if index >= len(self.inputs):
            raise ConversionError(f"{self.where}: input {index} is missing")
        self.read.add(index)
        return self.inputs[index]

    def input(self, index: int) -> ov.Output:
        """Return an input with its channels in the network's own order."""
        value = self.as_is(index)
        if not value.bgr:
            return value.output
        return ops.gather(value.output, np.array(_BGR_TO_RGB), np.array(CHANNEL_AXIS)).output(0)

    def parameter(self, index: int, length: int | None = None) -> Array:
        """Return the values of an input that has to be a parameter; `length` is its first side."""
        array = self.as_is(index).array
        if array is None:
            raise ConversionError(f"{self.where}: input {index} is computed, not a parameter")
        if length is not None and array.shape[0] != length:
            raise ConversionError(
                f"{self.where}: parameter {index} has the shape {list(array.shape)}, "
                f"its first side should be {length}"
            )
        return array

    def channels(self) -> int:
        """Return the number of channels of the first input."""
        return int(self.as_is(0).output.get_partial_shape()[CHANNEL_AXIS].get_length())


Converter = Callable[[Operation], Value]
CONVERTERS: dict[str, Converter] = {}


def _operator(*names: str) -> Callable[[Converter], Converter]:
    """Put a function into the table under an operator's names."""

    def register(function: Converter) -> Converter:
        CONVERTERS.update(dict.fromkeys(names, function))
        return function

    return register


def constant(array: Array) -> ov.Output:
    """Return a float32 constant."""
    return ops.constant(array.astype(np.float32)).output(0)


def _per_channel(array: Array, dimensions: int) -> Array:
    """Shape a vector so that it is broadcast along the channel axis of `dimensions` axes."""
    return array.reshape(1, -1, *[1] * (dimensions - 2))


def _sum(first: Array | None, second: Array) -> Array:
    return second if first is None else first + second


def _product(first: Array | None, second: Array) -> Array | None:
    return None if first is None else first * second


def _rank(output: ov.Output) -> int:
    return len(output.get_partial_shape())


@_operator("Convolution")
def _convolution(op: Operation) -> Value:
    attributes = op.attributes
    attributes.pair("kernel")
    attributes.choice("layout", "NCHW", ("NCHW", "None"))
    strides = attributes.pair("stride", (1, 1))
    pads = attributes.pair("pad", (0, 0), minimum=0)
    dilations = attributes.pair("dilate", (1, 1))
    groups = attributes.integer("num_group", 1)
    filters = attributes.integer("num_filter")
    weights = op.parameter(1, filters)
    bias = None if attributes.flag("no_bias", False) else op.parameter(2, filters)
    source = op.as_is(0)
    if source.bgr and groups == 1:
        data, weights = source.output, weights[:, _BGR_TO_RGB]
    elif source.normalized and groups == 1 and pads == (0, 0):
        # Not with padding: the border is zero after the BatchNorm, not before.
        data = source.normalized.output
        bias = _sum(bias, weights.sum(axis=(2, 3)) @ source.normalized.shift)
        weights = weights * source.normalized.scale[:, None, None]
    else:
        data = op.input(0)

    def build(weights: Array, bias: Array | None) -> Value:
        if groups == 1:
            result = ops.convolution(data, constant(weights), strides, pads, pads, dilations)
        else:
            grouped = weights.reshape(groups, filters // groups, *weights.shape[1:])
            result = ops.group_convolution(data, constant(grouped), strides, pads, pads, dilations)
        if bias is not None:
            result = ops.add(result, constant(_per_channel(bias, 4)))
        return Value(
            result.output(0),
            affine=lambda scale, shift: build(
                weights * scale[:, None, None, None], _sum(_product(bias, scale), shift)
            ),
        )

    return build(weights, bias)


@_operator("FullyConnected")
def _fully_connected(op: Operation) -> Value:
    hidden = op.attributes.integer("num_hidden")
    bias = None if op.attributes.flag("no_bias", False) else op.parameter(2, hidden)
    weights = op.parameter(1, hidden)
    source = op.as_is(0)
    if _rank(source.output) != 2:
        if not op.attributes.flag("flatten", True):
            raise UnsupportedOperatorError(f"{op.where}: flatten=False is not supported")
        source = _flatten(op)
    op.attributes.ignore("flatten")
    data = source.output
    if source.normalized:
        data = source.normalized.output
        bias = _sum(bias, weights @ source.normalized.shift)
        weights = weights * source.normalized.scale

    def build(weights: Array, bias: Array | None) -> Value:
        result = ops.matmul(data, constant(weights), transpose_a=False, transpose_b=True)
        if bias is not None:
            result = ops.add(result, constant(bias[None, :]))
        return Value(
            result.output(0),
            affine=lambda scale, shift: build(
                weights * scale[:, None], _sum(_product(bias, scale), shift)
            ),
        )

    return build(weights, bias)


@_operator("BatchNorm", "BatchNorm_v1")
def _batch_norm(op: Operation) -> Value:
    epsilon = op.attributes.number("eps", 1e-3)
    fix_gamma = op.attributes.flag("fix_gamma", True)
    if op.attributes.integer("axis", CHANNEL_AXIS) != CHANNEL_AXIS:
        raise UnsupportedOperatorError(f"{op.where}: only axis=1 is supported")
    if op.attributes.flag("output_mean_var", False):
        raise UnsupportedOperatorError(f"{op.where}: output_mean_var=True is not supported")
    channels = op.channels()
    gamma, beta, mean, variance = (op.parameter(index, channels) for index in range(1, 5))
    if (variance + epsilon <= 0).any():
        raise ConversionError(f"{op.where}: its variance is not positive")
    scale = (np.ones_like(gamma) if fix_gamma else gamma) / np.sqrt(variance + epsilon)
    shift = beta - mean * scale
    affine = op.as_is(0).affine
    if affine is not None and 0 in op.single_use_inputs:
        return affine(scale, shift)
    data = op.input(0)
    dimensions = _rank(data)
    scaled = ops.multiply(data, constant(_per_channel(scale, dimensions)))
    shifted = ops.add(scaled, constant(_per_channel(shift, dimensions)))
    return Value(shifted.output(0), normalized=Normalized(data, scale, shift))


@_operator("LeakyReLU")
def _leaky_relu(op: Operation) -> Value:
    kind = op.attributes.choice("act_type", "leaky", ("leaky", "prelu", "elu"))
    slope = op.attributes.number("slope", 0.25)
    op.attributes.ignore("lower_bound", "upper_bound")
    data = op.input(0)
    if kind == "elu":
        return Value(ops.elu(data, slope).output(0))
    slopes = np.array([slope])
    if kind == "prelu":
        slopes = op.parameter(1)
        if slopes.shape not in ((1,), (op.channels(),)):
            raise ConversionError(f"{op.where}: {slopes.size} slopes for {op.channels()} channels")
    return Value(ops.prelu(data, constant(slopes)).output(0))


_ACTIVATIONS = {
    "relu": ops.relu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softrelu": ops.softplus,
    "softsign": ops.softsign,
}


@_operator("Activation")
def _activation(op: Operation) -> Value:
    kind = op.attributes.choice("act_type", None, tuple(_ACTIVATIONS))
    return Value(_ACTIVATIONS[kind](op.input(0)).output(0))


@_operator("relu", "sigmoid", "tanh")
def _named_activation(op: Operation) -> Value:
    return Value(_ACTIVATIONS[op.where.split()[0]](op.input(0)).output(0))


def _binary(function: Callable[..., ov.Node]) -> Converter:
    return lambda op: Value(function(op.input(0), op.input(1)).output(0))


for _names, _function in {
    ("elemwise_add", "_plus", "_Plus", "broadcast_add", "broadcast_plus"): ops.add,
    ("elemwise_sub", "_minus", "_Minus", "broadcast_sub", "broadcast_minus"): ops.subtract,
    ("elemwise_mul", "_mul", "_Mul", "broadcast_mul"): ops.multiply,
    ("elemwise_div", "_div", "_Div", "broadcast_div"): ops.divide,
}.items():
    _operator(*_names)(_binary(_function))


def _scalar(function: Callable[[ov.Output, ov.Output], ov.Node]) -> Converter:
    def convert(op: Operation) -> Value:
        scalar = constant(np.array(op.attributes.number("scalar")))
        op.attributes.ignore("is_int")
        source = op.as_is(0)
        return Value(function(source.output, scalar).output(0), bgr=source.bgr)

    return convert


for _names, _function in {
    ("_plus_scalar", "_PlusScalar"): ops.add,
    ("_minus_scalar", "_MinusScalar"): ops.subtract,
    ("_rminus_scalar", "_RMinusScalar"): lambda data, scalar: ops.subtract(scalar, data),
    ("_mul_scalar", "_MulScalar"): ops.multiply,
    ("_div_scalar", "_DivScalar"): ops.divide,
    ("_rdiv_scalar", "_RDivScalar"): lambda data, scalar: ops.divide(scalar, data),
    ("_power_scalar", "_PowerScalar"): ops.power,
}.items():
    _operator(*_names)(_scalar(_function))


@_operator("Pooling")
def _pooling(op: Operation) -> Value:
    attributes = op.attributes
    kind = attributes.choice("pool_type", "max", ("max", "avg", "sum"))
    if attributes.flag("global_pool", False):
        attributes.ignore("kernel", "stride", "pad", "pooling_convention", "count_include_pad")
        reduce = {"max": ops.reduce_max, "avg": ops.reduce_mean, "sum": ops.reduce_sum}[kind]
        return Value(reduce(op.input(0), np.array([2, 3]), keep_dims=True).output(0))
    kernel = attributes.pair("kernel")
    strides = attributes.pair("stride", (1, 1))
    pads = attributes.pair("pad", (0, 0), minimum=0)
    convention = attributes.choice("pooling_convention", "valid", ("valid", "full"))
    count_pads = attributes.flag("count_include_pad", True)
    data = op.input(0)
    shape = data.get_partial_shape()
    sides = [shape[2 + i].get_length() for i in range(2)]
    if any(
        pad >= side or length + 2 * pad < side
        for side, pad, length in zip(kernel, pads, sides, strict=True)
    ):
        raise UnsupportedOperatorError(
            f"{op.where}: kernel={kernel} and pad={pads} do not fit an input of {sides}"
        )
    axes = [
        _Window(sides[i], kernel[i], strides[i], pads[i], convention == "full") for i in range(2)
    ]
    result = ov.PartialShape([1, *(axis.windows for axis in axes)])
    bounds.check_result(op.where, result)
    pads_end = [axis.pad_end for axis in axes]
    if kind == "max":
        pooled = ops.max_pool(data, strides, [1, 1], pads, pads_end, kernel, "floor")
        return Value(pooled.output(0))
    exclude_pads = kind == "avg" and not count_pads
    pooled = ops.avg_pool(data, strides, pads, pads_end, kernel, exclude_pads, "floor")
    size = float(np.prod(kernel))
    if kind == "sum":
        pooled = ops.multiply(pooled, constant(np.array(size)))
    elif count_pads:
        counts = np.outer(axes[0].counts(), axes[1].counts())
        if (counts != size).any():
            pooled = ops.multiply(pooled, constant(size / counts[None, None]))
    return Value(pooled.output(0))


@dataclass(frozen=True)
class _Window:
    """A pooling window along one axis.

    Under the convention `full` the number of windows is rounded up, so the last ones may reach
    beyond the padding; MXNet does not count what they cover there.
    """

    length: int
    kernel: int
    stride: int
    pad: int
    full: bool

    @property
    def windows(self) -> int:
        span = self.length + 2 * self.pad - self.kernel
        return (-(-span // self.stride) if self.full else span // self.stride) + 1

    @property
    def pad_end(self) -> int:
        reach = (self.windows - 1) * self.stride + self.kernel
        return max(self.pad, reach - self.length - self.pad)

    def counts(self) -> Array:
        """Return how many elements, padding included, each window is the average of."""
        starts = np.arange(self.windows) * self.stride
        ends = np.minimum(starts + self.kernel, self.length + 2 * self.pad)
        counts: Array = (ends - starts).astype(np.float64)
        return counts


def _flattened(data: ov.Output) -> ov.Output:
    return ops.reshape(data, np.array([0, -1]), special_zero=True).output(0)


@_operator("Flatten", "flatten")
def _flatten(op: Operation) -> Value:
    data = op.input(0)
    normalized = op.as_is(0).normalized
    if normalized:
        pixels = [axis.get_length() for axis in list(data.get_partial_shape())[2:]]
        normalized = normalized.repeated(int(np.prod(pixels)))
    return Value(_flattened(data), normalized=normalized)


@_operator("Dropout", "_copy", "identity", "BlockGrad", "stop_gradient")
def _identity(op: Operation) -> Value:
    op.attributes.choice("mode", "training", ("training",))
    op.attributes.ignore("p", "axes")
    return op.as_is(0)


@_operator("clip")
def _clip(op: Operation) -> Value:
    low, high = op.attributes.number("a_min"), op.attributes.number("a_max")
    return Value(ops.clamp(op.input(0), low, high).output(0))


@_operator("Concat", "concat")
def _concat(op: Operation) -> Value:
    axis = op.attributes.integer("dim", 1)
    count = len(op.inputs)
    if op.attributes.integer("num_args", count) != count:
        raise ConversionError(f"{op.where}: num_args is not its number of inputs, {count}")
    return Value(ops.concat([op.input(index) for index in range(count)], axis).output(0))


@_operator("L2Normalization")
def _l2_normalization(op: Operation) -> Value:
    epsilon = op.attributes.number("eps", 1e-10)
    mode = op.attributes.choice("mode", "instance", ("instance", "channel", "spatial"))
    data = op.input(0)
    rank = _rank(data)
    axes = {"instance": range(1, rank), "channel": (1,), "spatial": range(2, rank)}[mode]
    return Value(ops.normalize_l2(data, np.array(list(axes)), epsilon, "add").output(0))
