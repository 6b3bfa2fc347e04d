"""What the converter refuses, and how it names the place."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import CheckpointError, ConversionError, UnsupportedOperatorError
from face_embedding_models.mxnet import conversion
from face_embedding_models.mxnet.checkpoint import Checkpoint
from face_embedding_models.mxnet.symbol import Node, Symbol

KNOWN = manifest.load("face-recognition-mobilefacenet-arcface")
MANIFEST = dataclasses.replace(
    KNOWN,
    input=dataclasses.replace(KNOWN.input, height=4, width=5),
    output=dataclasses.replace(KNOWN.output, name="out", size=60),
)
WEIGHT = {"w": np.ones((3, 3, 1, 1))}
VECTORS = {name: np.ones(3) for name in ("gamma", "beta", "mean", "var")}
CONV = {"num_filter": "3", "kernel": "(1, 1)", "no_bias": "True"}
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Refusal:
    """A node `n` on the input and some arrays, and the message without the node."""

    name: str
    op: str
    attributes: dict[str, str]
    message: str
    arrays: Arrays = field(default_factory=dict)
    kind: type[ConversionError] = UnsupportedOperatorError


def conv(name: str, message: str, **attributes: str) -> Refusal:
    return Refusal(name, "Convolution", {**CONV, **attributes}, message, WEIGHT)


def pool(name: str, message: str, **attributes: str) -> Refusal:
    return Refusal(name, "Pooling", attributes, message)


def norm(name: str, message: str, **attributes: str) -> Refusal:
    return Refusal(name, "BatchNorm", attributes, message, VECTORS)


REFUSALS = (
    Refusal("operator", "GridGenerator", {}, "operator GridGenerator 'n' is not supported"),
    conv("attribute", "unknown attribute fancy=1", fancy="1"),
    conv("layout", "layout=NHWC is not supported, only NCHW, None", layout="NHWC"),
    conv(
        "one-dimension", r"kernel=\(3,\) is not supported, only two dimensions are", kernel="(3,)"
    ),
    conv("three-dimensions", r"stride=\(1, 1, 1\) is not supported, only two", stride="(1L,1L,1L)"),
    conv("no-pair", "kernel=3 cannot be understood", kernel="3"),
    conv("code", r"pad=open\('x'\) cannot be understood", pad="open('x')"),
    conv("number", "num_group=many cannot be understood", num_group="many"),
    conv("flag", "no_bias=perhaps cannot be understood", no_bias="perhaps"),
    Refusal("no-kernel", "Convolution", {"num_filter": "3"}, "attribute kernel is missing", WEIGHT),
    Refusal("no-filters", "Convolution", {"kernel": "(1, 1)"}, "attribute num_filter is missing"),
    Refusal("no-scalar", "_mul_scalar", {}, "attribute scalar is missing"),
    Refusal(
        "flatten",
        "FullyConnected",
        {"num_hidden": "2", "flatten": "False", "no_bias": "1"},
        "flatten=False is not supported",
        {"w": np.ones((2, 60))},
    ),
    norm("axis", "only axis=1 is supported", axis="3"),
    norm("statistics", "output_mean_var=True is not supported", output_mean_var="True"),
    Refusal(
        "gelu", "LeakyReLU", {"act_type": "gelu"}, "act_type=gelu is not supported, only leaky"
    ),
    Refusal(
        "mish", "Activation", {"act_type": "mish"}, "act_type=mish is not supported, only relu"
    ),
    Refusal("no-type", "Activation", {}, "attribute act_type is missing"),
    pool("lp", "pool_type=lp is not supported, only max, avg, sum", pool_type="lp"),
    pool("same", "pooling_convention=same is not", kernel="(1, 1)", pooling_convention="same"),
    Refusal("always", "Dropout", {"mode": "always"}, "mode=always is not supported, only training"),
    Refusal("l2", "L2Normalization", {"mode": "all"}, "mode=all is not supported, only instance"),
    dataclasses.replace(
        conv("no-input", "input 2 is missing", no_bias="False"), kind=ConversionError
    ),
    Refusal(
        "weight-shape",
        "Convolution",
        CONV,
        "its inputs do not fit together: too many indices",
        {"w": np.ones(3)},
        ConversionError,
    ),
    Refusal(
        "filters",
        "Convolution",
        {**CONV, "num_filter": "4"},
        r"parameter 1 has the shape \[3, 3, 1, 1\], its first side should be 4",
        WEIGHT,
        ConversionError,
    ),
    Refusal(
        "slopes",
        "LeakyReLU",
        {"act_type": "prelu"},
        "2 slopes for 3 channels",
        {"w": np.ones(2)},
        ConversionError,
    ),
    pool(
        "window",
        r"kernel=\(9, 9\) and pad=\(1, 1\) do not fit an input of \[4, 5\]",
        kernel="(9, 9)",
        pad="(1, 1)",
    ),
    conv("fraction", r"kernel=\(1.5, 1\) cannot be understood", kernel="(1.5, 1)"),
    Refusal("arguments", "Concat", {"num_args": "2"}, "num_args is not", kind=ConversionError),
    Refusal("surplus", "relu", {}, "its input 1 has no meaning", WEIGHT, ConversionError),
    Refusal(
        "variance",
        "BatchNorm",
        {},
        "its variance is not positive",
        {name: np.full(3, -1.0) for name in ("gamma", "beta", "mean", "variance")},
        ConversionError,
    ),
    Refusal(
        "no-groups",
        "Convolution",
        {**CONV, "num_group": "0"},
        "num_group is 0, it has to be at least 1",
        WEIGHT,
        ConversionError,
    ),
    Refusal(
        "no-stride",
        "Pooling",
        {"kernel": "(1, 1)", "stride": "(0, 0)"},
        "stride is 0, it has to be at least 1",
        kind=ConversionError,
    ),
)


def on_input(op: str, attributes: dict[str, str], *names: str) -> tuple[Node, ...]:
    """Return a graph of one operator, on the input and on parameters, and its flattening."""
    variables = [Node("null", name) for name in ("data", *names)]
    inputs = tuple(range(len(variables)))
    last = (len(variables),)
    return (*variables, Node(op, "n", inputs, attributes), Node("Flatten", "out", last))


def convert(nodes: tuple[Node, ...], arrays: Arrays) -> None:
    conversion.convert(Checkpoint(Symbol(nodes, (len(nodes) - 1,)), arrays), MANIFEST)


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_operator(case: Refusal) -> None:
    """An operator that cannot be converted faithfully is refused by its name and its node's."""
    where = "" if case.message.startswith("operator") else f"{case.op} 'n': "
    with pytest.raises(case.kind, match=where + case.message):
        convert(on_input(case.op, case.attributes, *case.arrays), case.arrays)


FIRST_CONV = on_input("Convolution", CONV, "w")
NOT_FINITE = {"w": np.full((3, 3, 1, 1), np.nan)}
SIDE = (Node("null", "data"), Node("null", "w"), Node("Flatten", "out", (0,)))
COMPUTED = (
    Node("null", "data"),
    Node("relu", "r", (0,)),
    Node("Convolution", "n", (0, 1), CONV),
    Node("Flatten", "out", (2,)),
)
TWICE = (
    Node("null", "data"),
    Node("Concat", "n", (0, 0)),
    Node("Flatten", "out", (1,)),
)
GRAPHS: dict[str, tuple[tuple[Node, ...], Arrays, str]] = {
    "missing": (FIRST_CONV, {}, "the parameters have no array 'w', which the symbol needs"),
    "unused": (SIDE, WEIGHT, "the array 'w' plays no part in the output 'out'"),
    "not-finite": (FIRST_CONV, NOT_FINITE, "the array 'w' holds values that are not finite"),
    "shape": (
        TWICE,
        {},
        r"the output 'out' has the shape \[\?,120\]; the manifest says \[\?,60\]",
    ),
    "computed": (COMPUTED, {}, "Convolution 'n': input 1 is computed, not a parameter"),
}


@pytest.mark.parametrize(("nodes", "arrays", "message"), GRAPHS.values(), ids=GRAPHS)
def test_graph(nodes: tuple[Node, ...], arrays: Arrays, message: str) -> None:
    """A network that does not fit its parameters or its manifest is refused by the name."""
    with pytest.raises(ConversionError, match=message):
        convert(nodes, arrays)


def test_output_node() -> None:
    """A network without the manifest's output is refused, naming its last nodes."""
    nodes = (Node("null", "data"), Node("relu", "r", (0,)))
    with pytest.raises(CheckpointError, match="has no node 'out'; its last nodes are r"):
        convert(nodes, {})


def test_attributes_without_effect() -> None:
    """Attributes that change nothing at inference are not in the way."""
    attributes = {**CONV, "workspace": "512", "cudnn_tune": "off", "__lr_mult__": "2"}
    convert(on_input("Convolution", attributes, "w"), WEIGHT)


def test_empty_pair_is_the_default() -> None:
    """An empty shape, as older versions wrote it, stands for the default."""
    convert(on_input("Convolution", {**CONV, "stride": "()", "pad": "[]"}, "w"), WEIGHT)
