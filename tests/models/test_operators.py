"""Every operator of the converter against MXNet itself, on the same random input."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from face_embedding_models import manifest
from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import conversion, symbol
from face_embedding_models.mxnet.checkpoint import Checkpoint
from face_embedding_models.mxnet.operators import CONVERTERS

Sym = Any  # MXNet ships no types.
Arrays = dict[str, NDArray[np.float32]]

# Three different sides, so that mixed up axes show.
INPUT_SHAPE = (2, 3, 14, 15)
# float32 sums in another order: measured at most 1.9e-5, where 630 products are summed.
ROUNDING = 5e-5


@dataclass(frozen=True)
class Case:
    """A network by its builder, and what the converted model must and must not consist of.

    MXNet writes every operator under its current name; `alias` puts an older one in the file.
    """

    name: str
    build: Callable[[Any, Sym], Sym]
    tolerance: float = ROUNDING
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    alias: str = ""


def op(*names: str, **attributes: Any) -> Callable[[Any, Sym], Sym]:
    """Apply operators of one input each in a row; the last one takes the attributes."""

    def build(mx: Any, data: Sym) -> Sym:
        for name in names[:-1]:
            data = find(mx, name)(data)
        return find(mx, names[-1])(data, **attributes)

    return build


def find(mx: Any, name: str) -> Any:
    return getattr(mx.sym, name, None) or getattr(mx.sym._internal, name)


def conv(mx: Any, data: Sym, filters: int = 6, side: int = 1, **attributes: Any) -> Sym:
    return mx.sym.Convolution(data, num_filter=filters, kernel=(side, side), **attributes)


def norm(mx: Any, data: Sym, **attributes: Any) -> Sym:
    return mx.sym.BatchNorm(data, **{"fix_gamma": False, **attributes})


def dense(mx: Any, data: Sym, **attributes: Any) -> Sym:
    return mx.sym.FullyConnected(data, num_hidden=7, **attributes)


def scaled(data: Sym) -> Sym:
    return (data - 127.5) * 0.0078125


def both(first: Sym, second: Sym) -> Sym:
    return first.flatten() + second.flatten()


def weight(mx: Any, shape: tuple[int, ...]) -> Sym:
    return mx.sym.Variable("factor_gamma", shape=shape)


def negative(kind: str, **attributes: Any) -> Callable[[Any, Sym], Sym]:
    """Pool values below zero, among which zeros of padding would show."""
    return lambda mx, x: find(mx, kind)(x - 9, pool_type="max", **attributes)


def two_uses(mx: Any, data: Sym) -> Sym:
    x = conv(mx, data, 4)
    return norm(mx, x) + x


def shared_norm(mx: Any, data: Sym) -> Sym:
    x = norm(mx, data * 1)
    return both(conv(mx, x), conv(mx, x, side=3, pad=(1, 1)))


def squeeze_and_excitation(mx: Any, data: Sym) -> Sym:
    x = norm(mx, conv(mx, scaled(data), 8, 3, no_bias=True))
    gate = mx.sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(7, 7))
    gate = mx.sym.LeakyReLU(conv(mx, gate, 2), act_type="prelu")
    gate = mx.sym.Activation(conv(mx, gate, 8), act_type="sigmoid")
    return mx.sym.broadcast_mul(x, gate)


def reused_input(mx: Any, data: Sym) -> Sym:
    x = scaled(data)
    return both(conv(mx, x, 3, 3, pad=(1, 1)), x)


CONVOLUTION: dict[str, dict[str, Any]] = {
    "plain": {"kernel": (3, 3)},
    "no-bias": {"kernel": (3, 3), "no_bias": True},
    "stride": {"kernel": (3, 2), "stride": (2, 3)},
    "pad": {"kernel": (3, 5), "pad": (1, 2)},
    "dilate": {"kernel": (3, 2), "dilate": (2, 3)},
    "groups": {"kernel": (3, 3), "num_group": 3},
    "groups-no-bias": {"kernel": (3, 3), "num_group": 3, "no_bias": True, "pad": (1, 1)},
    "1x1": {"kernel": (1, 1), "no_bias": True},
    "layout": {"kernel": (2, 2), "layout": "NCHW", "workspace": 512},
}
BATCH_NORM: dict[str, Callable[[Any, Sym], Sym]] = {
    "fix-gamma": lambda mx, x: norm(mx, conv(mx, x), fix_gamma=True),
    "eps": lambda mx, x: norm(mx, conv(mx, x), eps=0.5),
    "default": lambda mx, x: mx.sym.BatchNorm(conv(mx, x, no_bias=True)),
    "after-groups": lambda mx, x: norm(mx, conv(mx, x, 6, 3, num_group=3)),
    "after-dense": lambda mx, x: norm(mx, dense(mx, x)),
    "after-dense-no-bias": lambda mx, x: norm(mx, dense(mx, x, no_bias=True), fix_gamma=True),
    "after-dropout": lambda mx, x: norm(mx, mx.sym.Dropout(conv(mx, x, 5))),
    "twice": lambda mx, x: norm(mx, norm(mx, conv(mx, x, 5))),
    "into-1x1": lambda mx, x: conv(mx, norm(mx, x), stride=(2, 2)),
    "into-1x1-no-bias": lambda mx, x: conv(mx, norm(mx, x), no_bias=True),
    "into-3x3-unpadded": lambda mx, x: conv(mx, norm(mx, x), side=3),
    "into-dense": lambda mx, x: dense(mx, norm(mx, x)),
    "into-dense-by-flatten": lambda mx, x: dense(mx, mx.sym.Flatten(norm(mx, x)), no_bias=True),
    "into-dense-by-dropout": lambda mx, x: dense(mx, mx.sym.Dropout(norm(mx, x), p=0.4)),
}
KEPT_BATCH_NORM: dict[str, Callable[[Any, Sym], Sym]] = {
    "before-padded": lambda mx, x: conv(mx, norm(mx, x), side=3, pad=(1, 1)),
    "before-groups": lambda mx, x: conv(mx, norm(mx, x), num_group=3),
    "two-uses": two_uses,
    "shared": shared_norm,
    "first": lambda mx, x: norm(mx, x),
    "two-dimensional": lambda mx, x: norm(mx, mx.sym.Flatten(x)),
}
POOLING: dict[str, dict[str, Any]] = {
    "plain": {"kernel": (3, 2)},
    "stride": {"kernel": (2, 3), "stride": (2, 3)},
    "pad": {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 0)},
    "full": {"kernel": (3, 4), "stride": (2, 3), "pooling_convention": "full"},
    "full-pad": {"kernel": (3, 4), "stride": (2, 3), "pad": (1, 1), "pooling_convention": "full"},
    "global": {"kernel": (7, 7), "global_pool": True},
}
UNCOUNTED: dict[str, dict[str, Any]] = {
    f"{name}-uncounted": {**attributes, "count_include_pad": False}
    for name, attributes in POOLING.items()
}
SCALARS = ("_plus", "_minus", "_rminus", "_mul", "_div", "_rdiv", "_power")
ELEMENTWISE = ("add", "sub", "mul", "div")
IDENTITIES = ("Dropout", "_copy", "BlockGrad")
OLDER_NAMES = {
    "elemwise_add": ("_plus", "_Plus"),
    "elemwise_sub": ("_minus", "_Minus"),
    "elemwise_mul": ("_mul", "_Mul"),
    "elemwise_div": ("_div", "_Div"),
    "broadcast_add": ("broadcast_plus",),
    "broadcast_sub": ("broadcast_minus",),
    "_plus_scalar": ("_PlusScalar",),
    "_minus_scalar": ("_MinusScalar",),
    "_rminus_scalar": ("_RMinusScalar",),
    "_mul_scalar": ("_MulScalar",),
    "_div_scalar": ("_DivScalar",),
    "_rdiv_scalar": ("_RDivScalar",),
    "_power_scalar": ("_PowerScalar",),
    "Flatten": ("flatten",),
    "_copy": ("identity",),
    "BlockGrad": ("stop_gradient",),
    "Concat": ("concat",),
}
CURRENT_NAME = {older: name for name, names in OLDER_NAMES.items() for older in names}


def elementwise(name: str) -> Callable[[Any, Sym], Sym]:
    return lambda mx, x: find(mx, f"elemwise_{name}")(x, conv(mx, x, 3) * 0.01 + 2)


def broadcast(name: str, shape: tuple[int, ...]) -> Callable[[Any, Sym], Sym]:
    return lambda mx, x: getattr(mx.sym, f"broadcast_{name}")(x, weight(mx, shape))


def aliased(name: str) -> Callable[[Any, Sym], Sym]:
    """Apply an operator that is called otherwise in older files."""
    kind, _, function = name.partition("_")
    if kind == "elemwise":
        return elementwise(function)
    if kind == "broadcast":
        return broadcast(function, (1, 3, 1, 1))
    if name == "Concat":
        return lambda mx, x: mx.sym.Concat(x, x * 2)
    return op("sigmoid", name, scalar=2.5) if name.endswith("_scalar") else op("relu", name)


CASES = (
    *(
        Case(f"convolution-{k}", op("Convolution", num_filter=6, **v))
        for k, v in CONVOLUTION.items()
    ),
    Case("depthwise", lambda mx, x: conv(mx, conv(mx, x, 6), 6, 3, num_group=6, no_bias=True)),
    *(Case(f"norm-{k}", v, absent=("Multiply",)) for k, v in BATCH_NORM.items()),
    *(Case(f"norm-kept-{k}", v, present=("Multiply",)) for k, v in KEPT_BATCH_NORM.items()),
    Case("norm-v1", lambda mx, x: mx.sym.BatchNorm_v1(conv(mx, x), eps=1e-2)),
    *(
        Case(f"pooling-{kind}-{k}", op("Pooling", pool_type=kind, **v))
        for kind in ("max", "avg", "sum")
        for k, v in POOLING.items()
    ),
    *(Case(f"pooling-avg-{k}", op("Pooling", pool_type="avg", **v)) for k, v in UNCOUNTED.items()),
    *(
        Case(f"pooling-max-{k}-negative", negative("Pooling", **POOLING[k]))
        for k in ("pad", "full-pad")
    ),
    Case("leaky", op("LeakyReLU", act_type="leaky", slope=0.3)),
    Case("leaky-default", op("LeakyReLU")),
    Case("prelu", op("LeakyReLU", act_type="prelu")),
    Case("prelu-flat", lambda mx, x: mx.sym.LeakyReLU(dense(mx, x), act_type="prelu")),
    Case(
        "prelu-shared",
        lambda mx, x: mx.sym.LeakyReLU(x, gamma=weight(mx, (1,)), act_type="prelu"),
    ),
    Case("elu", op("LeakyReLU", act_type="elu", slope=0.7)),
    *(
        Case(f"activation-{kind}", op("Activation", act_type=kind))
        for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    ),
    *(Case(name, op(name)) for name in ("relu", "sigmoid", "tanh", "Flatten")),
    *(Case(f"elemwise_{n}", elementwise(n)) for n in ELEMENTWISE),
    *(Case(f"broadcast_{n}", broadcast(n, (1, 3, 1, 1))) for n in ELEMENTWISE),
    *(Case(f"broadcast_{n}-row", broadcast(n, (1, 1, 14, 1))) for n in ELEMENTWISE),
    *(Case(f"{n}_scalar", op("sigmoid", f"{n}_scalar", scalar=1.5)) for n in SCALARS),
    Case("dense", lambda mx, x: dense(mx, x)),
    Case("dense-no-bias", lambda mx, x: dense(mx, x, no_bias=True)),
    Case("dense-as-is", lambda mx, x: dense(mx, mx.sym.Flatten(x), flatten=False)),
    *(Case(name, op("relu", name)) for name in IDENTITIES),
    *(Case(f"alias-{alias}", aliased(name), alias=alias) for alias, name in CURRENT_NAME.items()),
    Case("clip", op("clip", a_min=-0.5, a_max=0.75)),
    Case("concat", lambda mx, x: mx.sym.Concat(x, conv(mx, x, 4), x)),
    Case("concat-height", lambda mx, x: mx.sym.Concat(x, x * 2, dim=2)),
    *(
        Case(f"l2-{mode}", op("L2Normalization", mode=mode, eps=0.1))
        for mode in ("instance", "channel", "spatial")
    ),
    Case("l2-flat", lambda mx, x: mx.sym.L2Normalization(mx.sym.Flatten(x))),
    Case("squeeze-and-excitation", squeeze_and_excitation),
    Case("first-folds-flip", lambda mx, x: conv(mx, scaled(x), 6, 3), absent=("Gather",)),
    Case("first-by-identity", lambda mx, x: conv(mx, mx.sym.identity(x), 6), absent=("Gather",)),
    Case("first-grouped", op("_mul_scalar", scalar=2), present=("Gather",)),
    Case("first-in-groups", lambda mx, x: conv(mx, x, 6, 3, num_group=3), present=("Gather",)),
    Case("first-norm", lambda mx, x: conv(mx, norm(mx, x), 6, 3), present=("Gather",)),
    Case("first-dense", lambda mx, x: dense(mx, x * 0.5), present=("Gather",)),
    Case("first-used-twice", reused_input, present=("Gather",)),
)


@dataclass(frozen=True)
class Run:
    """What MXNet computed from an image in RGB, and the converted model that takes BGR."""

    data: NDArray[np.float32]
    expected: NDArray[np.float32]
    model: ov.Model


def random_arrays(shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> Arrays:
    """Make parameters; what divides is positive."""
    arrays = {}
    for name, shape in shapes.items():
        positive = name.endswith(("gamma", "var"))
        values = rng.uniform(0.5, 1.5, shape) if positive else rng.normal(0, 0.3, shape)
        arrays[name] = values.astype(np.float32)
    return arrays


def small_manifest(size: int) -> Manifest:
    """Describe a network with a small input that is not square."""
    known = manifest.load("face-recognition-mobilefacenet-arcface")
    return dataclasses.replace(
        known,
        input=dataclasses.replace(known.input, height=INPUT_SHAPE[2], width=INPUT_SHAPE[3]),
        output=dataclasses.replace(known.output, name="embedding", size=size),
    )


def graph_of(case: Case, mx: Any) -> str:
    """Return the symbol file of a case."""
    with mx.name.NameManager():  # Restarts the numbering of nodes.
        graph = mx.sym.Flatten(case.build(mx, mx.sym.Variable("data")), name="embedding")
    text: str = graph.tojson()
    if not case.alias:
        return text
    return text.replace(f'"op": "{CURRENT_NAME[case.alias]}"', f'"op": "{case.alias}"')


@cache
def run(case: Case, mx: Any) -> Run:
    rng = np.random.default_rng(20)
    text = graph_of(case, mx)
    graph = mx.sym.load_json(text)
    shapes, (output,), aux_shapes = graph.infer_shape(data=INPUT_SHAPE)
    named = zip(graph.list_arguments(), shapes, strict=True)
    arrays = random_arrays({name: shape for name, shape in named if name != "data"}, rng)
    aux = random_arrays(dict(zip(graph.list_auxiliary_states(), aux_shapes, strict=True)), rng)
    data = rng.normal(0.3, 1, INPUT_SHAPE).astype(np.float32)
    executor = graph.bind(
        mx.cpu(),
        {name: mx.nd.array(a) for name, a in {"data": data, **arrays}.items()},
        aux_states={name: mx.nd.array(a) for name, a in aux.items()},
        grad_req="null",
    )
    expected = executor.forward(is_train=False)[0].asnumpy()
    parsed = Checkpoint(symbol.parse(text.encode()), {**arrays, **aux})
    return Run(data, expected, conversion.convert(parsed, small_manifest(output[1])))


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_equals_mxnet(case: Case, mxnet: Any) -> None:
    """The converted network computes what MXNet does, channels of the input reversed."""
    result = run(case, mxnet)
    compiled = ov.Core().compile_model(result.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    actual = compiled(np.ascontiguousarray(result.data[:, ::-1]))[0]
    np.testing.assert_allclose(actual, result.expected, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("case", [c for c in CASES if c.present or c.absent], ids=by_name)
def test_folds(case: Case, mxnet: Any) -> None:
    """What can go into the weights of a layer leaves no operation in the model, the rest stays."""
    kinds = {node.get_type_name() for node in run(case, mxnet).model.get_ops()}
    assert (kinds.issuperset(case.present), kinds.isdisjoint(case.absent)) == (True, True)


def test_every_operator_is_compared(mxnet: Any) -> None:
    """No operator of the converter is without a case here."""
    graphs = [symbol.parse(graph_of(case, mxnet).encode()) for case in CASES]
    assert not CONVERTERS.keys() - {node.op for graph in graphs for node in graph.nodes}


def test_names_are_kept(mxnet: Any) -> None:
    """A converted node has the name it has in the symbol."""
    case = Case("named", lambda mx, x: conv(mx, x, name="first"))
    names = {node.get_friendly_name() for node in run(case, mxnet).model.get_ops()}
    assert {"first", "pre_fc1"} <= names
