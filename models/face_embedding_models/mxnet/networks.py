"""The networks of the manifests, as symbols without values.

`build` makes the graph of a published checkpoint, node for node: same operators, attributes,
parameter names and shapes.

Source: `fresnet.py` (output E, unit version 3, PReLU) and `fmobilefacenet.py` of InsightFace's
MXNet recognition code; Deng et al., "ArcFace", 2018; Chen et al., "MobileFaceNets", 2018.
"""

from dataclasses import dataclass, replace

from face_embedding_models.errors import ModelError
from face_embedding_models.manifest import Manifest
from face_embedding_models.manifest import Network as Described
from face_embedding_models.mxnet.symbol import VARIABLE, Node, Symbol

_STAGE_FILTERS = (64, 128, 256, 512)
_EPS = "2e-05"
_MOMENTUM = "0.9"


@dataclass(frozen=True)
class Parameter:
    """An array that a network needs.

    Args:
        kind: what it is, such as `weight` or `moving_var`.
        shape: its shape.
        auxiliary: whether MXNet files it under auxiliary states rather than arguments.
        window: for weights, the number of pixels of one channel that an output depends on.
    """

    kind: str
    shape: tuple[int, ...]
    auxiliary: bool = False
    window: int = 1


@dataclass(frozen=True)
class Network:
    """A graph and the arrays that it needs, by name, in the order of the graph."""

    symbol: Symbol
    parameters: dict[str, Parameter]


@dataclass(frozen=True)
class _Tensor:
    """The output of a node, with the shape of one item."""

    node: int
    channels: int
    side: int


def build(manifest: Manifest) -> Network:
    """Build the network that a manifest describes.

    Raises:
        ModelError: if the manifest describes none, or one of a family that is not known.
    """
    described = manifest.network
    if described is None:
        raise ModelError(
            f"there is no stand-in for {manifest.name}: its manifest describes no network; known "
            f"are stand-ins for the MXNet models"
        )
    if described.family not in _FAMILIES:
        raise ModelError(
            f"no network family is called '{described.family}', known are {', '.join(_FAMILIES)}"
        )
    graph = _Graph()
    data = _Tensor(graph.variable(manifest.input.name), 3, manifest.input.width)
    embedding = _FAMILIES[described.family](graph, manifest, described, data)
    return Network(Symbol(tuple(graph.nodes), (embedding.node,)), graph.parameters)


class _Graph:
    """Collects nodes; each method appends one operator, after its parameters."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.parameters: dict[str, Parameter] = {}

    def variable(self, name: str) -> int:
        self.nodes.append(Node(VARIABLE, name))
        return len(self.nodes) - 1

    def scalar(self, op: str, name: str, data: _Tensor, scalar: str) -> _Tensor:
        return self._apply(op, name, data, {}, {"scalar": scalar})

    def convolution(
        self,
        name: str,
        data: _Tensor,
        filters: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        pad: int = 1,
        groups: int = 1,
    ) -> _Tensor:
        shape = (filters, data.channels // groups, kernel, kernel)
        weight = Parameter("weight", shape, window=kernel**2)
        attributes = {
            "kernel": f"({kernel}, {kernel})",
            "no_bias": "True",
            "num_filter": str(filters),
            "num_group": str(groups),
            "pad": f"({pad}, {pad})",
            "stride": f"({stride}, {stride})",
        }
        result = self._apply("Convolution", name, data, {f"{name}_weight": weight}, attributes)
        side = (data.side + 2 * pad - kernel) // stride + 1
        return replace(result, channels=filters, side=side)

    def batch_norm(
        self, name: str, data: _Tensor, *, fix_gamma: bool = False, eps: str | None = _EPS
    ) -> _Tensor:
        shape = (data.channels,)
        parameters = {
            f"{name}_gamma": Parameter("gamma", shape),
            f"{name}_beta": Parameter("beta", shape),
            f"{name}_moving_mean": Parameter("moving_mean", shape, auxiliary=True),
            f"{name}_moving_var": Parameter("moving_var", shape, auxiliary=True),
        }
        attributes = {"fix_gamma": str(fix_gamma), "momentum": _MOMENTUM}
        if eps is not None:
            attributes["eps"] = eps
        return self._apply("BatchNorm", name, data, parameters, attributes)

    def prelu(self, name: str, data: _Tensor) -> _Tensor:
        slope = {f"{name}_gamma": Parameter("slope", (data.channels,))}
        return self._apply("LeakyReLU", name, data, slope, {"act_type": "prelu"})

    def add(self, name: str, first: _Tensor, second: _Tensor) -> _Tensor:
        self.nodes.append(Node("elemwise_add", name, (first.node, second.node)))
        return replace(first, node=len(self.nodes) - 1)

    def dropout(self, name: str, data: _Tensor, rate: str) -> _Tensor:
        return self._apply("Dropout", name, data, {}, {"p": rate})

    def fully_connected(
        self, name: str, data: _Tensor, size: int, weight_name: str | None = None
    ) -> _Tensor:
        parameters = {
            weight_name or f"{name}_weight": Parameter(
                "weight", (size, data.channels * data.side**2), window=data.side**2
            ),
            f"{name}_bias": Parameter("bias", (size,)),
        }
        result = self._apply("FullyConnected", name, data, parameters, {"num_hidden": str(size)})
        return replace(result, channels=size, side=1)

    def _apply(
        self,
        op: str,
        name: str,
        data: _Tensor,
        parameters: dict[str, Parameter],
        attributes: dict[str, str],
    ) -> _Tensor:
        inputs = [data.node]
        for parameter_name, parameter in parameters.items():
            self.parameters[parameter_name] = parameter
            inputs.append(self.variable(parameter_name))
        self.nodes.append(Node(op, name, tuple(inputs), attributes))
        return replace(data, node=len(self.nodes) - 1)


def _normalized(graph: _Graph, data: _Tensor) -> _Tensor:
    centred = graph.scalar("_minus_scalar", "_minusscalar0", data, "127.5")
    return graph.scalar("_mul_scalar", "_mulscalar0", centred, "0.0078125")


def _resnet_e_ir(graph: _Graph, manifest: Manifest, described: Described, data: _Tensor) -> _Tensor:
    """Build LResNet-E-IR: improved residual units, and output structure E."""
    x = graph.convolution("conv0", _normalized(graph, data), _STAGE_FILTERS[0])
    x = graph.prelu("relu0", graph.batch_norm("bn0", x))
    sums = 0
    for stage, (filters, units) in enumerate(
        zip(_STAGE_FILTERS, described.units, strict=True), start=1
    ):
        for unit in range(1, units + 1):
            prefix = f"stage{stage}_unit{unit}"
            x = _residual_unit(graph, prefix, f"_plus{sums}", x, filters, downsample=unit == 1)
            sums += 1
    x = graph.dropout("dropout0", graph.batch_norm("bn1", x), "0.4")
    x = graph.fully_connected("pre_fc1", x, manifest.output.size)
    return graph.batch_norm(manifest.output.name, x, fix_gamma=True)


def _residual_unit(
    graph: _Graph, prefix: str, sum_name: str, data: _Tensor, filters: int, *, downsample: bool
) -> _Tensor:
    stride = 2 if downsample else 1
    x = graph.batch_norm(f"{prefix}_bn1", data)
    x = graph.convolution(f"{prefix}_conv1", x, filters)
    x = graph.prelu(f"{prefix}_relu1", graph.batch_norm(f"{prefix}_bn2", x))
    x = graph.convolution(f"{prefix}_conv2", x, filters, stride=stride)
    x = graph.batch_norm(f"{prefix}_bn3", x)
    shortcut = data
    if downsample:
        shortcut = graph.convolution(
            f"{prefix}_conv1sc", data, filters, kernel=1, stride=stride, pad=0
        )
        shortcut = graph.batch_norm(f"{prefix}_sc", shortcut)
    return graph.add(sum_name, x, shortcut)


# MobileFaceNet's stages after the stem: the name and the widths of the bottleneck that halves the
# side, then the name, the number and the expanded width of the residual bottlenecks.
_MOBILE_STAGES = (
    ("dconv_23", 128, "res_3", 4, 128),
    ("dconv_34", 256, "res_4", 6, 256),
    ("dconv_45", 512, "res_5", 2, 256),
)
_MOBILE_WIDTHS = (64, 128, 128)


def _mobilefacenet(graph: _Graph, manifest: Manifest, _: Described, data: _Tensor) -> _Tensor:
    x = _conv_block(graph, "conv_1", _normalized(graph, data), 64, stride=2)
    x = _conv_block(graph, "conv_2_dw", x, 64, groups=64)
    sums = 0
    for (down, down_expanded, name, blocks, expanded), width in zip(
        _MOBILE_STAGES, _MOBILE_WIDTHS, strict=True
    ):
        x = _bottleneck(graph, down, x, width, down_expanded, stride=2)
        for block in range(blocks):
            inner = _bottleneck(graph, f"{name}_block{block}", x, width, expanded, stride=1)
            x = graph.add(f"_plus{sums}", inner, x)
            sums += 1
    x = _conv_block(graph, "conv_6sep", x, 512, kernel=1, pad=0)
    x = _conv_block(graph, "conv_6dw7_7", x, 512, kernel=7, pad=0, groups=512, activate=False)
    x = graph.fully_connected("pre_fc1", x, manifest.output.size, weight_name="fc1_weight")
    return graph.batch_norm(manifest.output.name, x, fix_gamma=True)


def _bottleneck(
    graph: _Graph, name: str, data: _Tensor, width: int, expanded: int, *, stride: int
) -> _Tensor:
    x = _conv_block(graph, f"{name}_conv_sep", data, expanded, kernel=1, pad=0)
    x = _conv_block(graph, f"{name}_conv_dw", x, expanded, stride=stride, groups=expanded)
    return _conv_block(graph, f"{name}_conv_proj", x, width, kernel=1, pad=0, activate=False)


def _conv_block(
    graph: _Graph,
    name: str,
    data: _Tensor,
    filters: int,
    *,
    activate: bool = True,
    kernel: int = 3,
    stride: int = 1,
    pad: int = 1,
    groups: int = 1,
) -> _Tensor:
    x = graph.convolution(
        f"{name}_conv2d", data, filters, kernel=kernel, stride=stride, pad=pad, groups=groups
    )
    x = graph.batch_norm(f"{name}_batchnorm", x, eps=None)
    return graph.prelu(f"{name}_relu", x) if activate else x


_FAMILIES = {"resnet-e-ir": _resnet_e_ir, "mobilefacenet": _mobilefacenet}
