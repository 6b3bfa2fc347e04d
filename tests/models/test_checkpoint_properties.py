"""Symbol files, parameter files and both together, whatever is in them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from face_embedding_models.errors import CheckpointError
from face_embedding_models.mxnet import checkpoint, params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol
from support.damage import attempt, damaged, json_values
from support.made_weights import SYMBOL, params_of

_NORM = {"op": "BatchNorm", "name": "bn", "param": {"eps": "0.1"}, "inputs": [[0, 0]] * 3}
SYMBOLS = [
    SYMBOL,
    json.dumps({"nodes": [{"op": "null", "name": "data"}, _NORM], "heads": [[1, 0]]}).encode(),
]
PARAMS = [params_of(), params.dump({"arg:a": np.zeros((2, 3)), "aux:b": np.arange(3)})]
# What a node of a graph may be, rightly and wrongly.
_REFERENCES = st.lists(
    st.lists(st.integers(-1, 4) | st.booleans(), min_size=1, max_size=4), max_size=4
)
_NODES = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["null", "BatchNorm", "relu", "_plus", ""]) | json_values(),
        "name": st.text(max_size=4) | json_values(),
    },
    optional={
        "inputs": _REFERENCES | json_values(),
        "attrs": json_values(),
        "param": st.dictionaries(st.text(max_size=4), st.text(max_size=4)),
        "control_deps": json_values(),
    },
)
_DOCUMENTS = json_values() | st.fixed_dictionaries(
    {"nodes": st.lists(_NODES, max_size=5), "heads": _REFERENCES}
)
_DTYPES = st.sampled_from(["f4", "f8", "f2", "u1", "i4", "i1", "i8"])


def is_well_formed(graph: Symbol) -> bool:
    """Tell whether every index is of an earlier node, as MXNet itself does not check."""
    return bool(graph.heads) and all(
        0 <= source < index for index, node in enumerate(graph.nodes) for source in node.inputs
    )


def check_symbol(data: bytes) -> None:
    graph = attempt(CheckpointError, lambda: symbol.parse(data))
    if isinstance(graph, CheckpointError):
        return
    assert is_well_formed(graph)
    assert symbol.parse(symbol.dump(graph)) == graph


def check_params(data: bytes) -> None:
    arrays = attempt(CheckpointError, lambda: params.parse(data))
    if not isinstance(arrays, CheckpointError):
        assert sum(array.nbytes for array in arrays.values()) <= len(data)


@given(damaged(SYMBOLS))
def test_damaged_symbol(data: bytes) -> None:
    """A damaged symbol is refused, or is a graph whose indices are all of earlier nodes."""
    check_symbol(data)


@given(_DOCUMENTS)
def test_any_symbol(document: object) -> None:
    """So is any JSON."""
    check_symbol(json.dumps(document).encode())


@given(st.lists(st.text("abc_é", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
def test_written_symbol(names: list[str]) -> None:
    """A graph is read as it was written."""
    nodes = [Node("null" if i == 0 else "relu", n, (i - 1,) * (i > 0)) for i, n in enumerate(names)]
    graph = Symbol(tuple(nodes), (len(nodes) - 1,))
    assert symbol.parse(symbol.dump(graph)) == graph


@given(damaged(PARAMS))
def test_damaged_params(data: bytes) -> None:
    """Damaged parameters are refused, or are no larger than their file."""
    check_params(data)


@pytest.mark.slow
@settings(max_examples=2000)
@given(damaged(PARAMS), damaged(SYMBOLS))
def test_damaged_often(parameters: bytes, graph: bytes) -> None:
    """The same of many more of both, and of both together."""
    check_params(parameters)
    check_symbol(graph)
    attempt(CheckpointError, lambda: checkpoint.parse(graph, parameters))


def _array(dtype: str, shape: list[int], value: int) -> NDArray[np.generic]:
    return np.full(shape, value, dtype)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.builds(
            _array, _DTYPES, st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(0, 99)
        ),
        max_size=4,
    )
)
def test_written_params(arrays: dict[str, NDArray[np.generic]]) -> None:
    """Arrays are read as they were written: their names, types, shapes and values."""
    found = params.parse(params.dump(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
