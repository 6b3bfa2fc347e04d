"""Reading and writing of MXNet's symbol files, and whether they fit their parameters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face_embedding_models.errors import CheckpointError
from face_embedding_models.mxnet import checkpoint, params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol

DATA: dict[str, Any] = {"op": "null", "name": "data", "inputs": []}
RELU: dict[str, Any] = {"op": "relu", "name": "relu", "inputs": [[0, 0, 0]]}
SMALL = Symbol((Node("null", "data"), Node("relu", "relu", (0,), {"a": "1"})), (1,))
OLDEST_NORM = [
    DATA,
    {"op": "null", "name": "bn_gamma", "param": {}, "inputs": []},
    {"op": "null", "name": "bn_beta", "param": {}, "inputs": []},
    {
        "op": "BatchNorm",
        "name": "bn",
        "param": {"eps": "0.1"},
        "inputs": [[0, 0], [1, 0], [2, 0]],
        "backward_source_id": -1,
    },
    {"op": "relu", "name": "relu", "param": {}, "inputs": [[3, 0]]},
]


def graph(*nodes: Any, heads: Any = ((1, 0, 0),)) -> bytes:
    return json.dumps({"nodes": nodes, "heads": heads}).encode()


def relu_of(*reference: Any) -> bytes:
    return graph(DATA, {**RELU, "inputs": [reference]})


@pytest.mark.parametrize("key", ["attrs", "attr", "param"])
def test_forms(key: str) -> None:
    """Attributes are read from the place they had in any version."""
    assert symbol.parse(graph(DATA, {**RELU, key: {"a": "1"}})) == SMALL


def test_round_trip() -> None:
    """A symbol is read as it was written."""
    assert symbol.parse(symbol.dump(SMALL)) == SMALL


def test_oldest_form_has_implicit_states() -> None:
    """The states that the oldest form leaves out become inputs of their BatchNorm."""
    read = symbol.parse(graph(*OLDEST_NORM, heads=[[4, 0]]))
    norm, relu = read.nodes[read.index_of("bn")], read.nodes[read.heads[0]]
    inputs = [read.nodes[index].name for index in (*norm.inputs, *relu.inputs)]
    states = ["bn_moving_mean", "bn_moving_var"]
    assert inputs == ["data", "bn_gamma", "bn_beta", *states, "bn"]


def test_mxnet_reads(mxnet: Any) -> None:
    """MXNet reads what is written here."""
    read = mxnet.sym.load_json(symbol.dump(SMALL).decode().replace('"a": "1"', ""))
    assert read.list_outputs() == ["relu_output"]


def test_trained_network(test_data: Path) -> None:
    """A trained network's symbol, written by MXNet 1.0, is the same after a round trip."""
    text = (test_data / "models" / "model-y1-test2" / "model-symbol.json").read_bytes()
    read = symbol.parse(text)
    assert (symbol.parse(symbol.dump(read)), read.nodes[read.heads[0]].name) == (read, "fc1")


NODE = "inputs of node 'relu' of the symbol"
NOT_A_REFERENCE = "is not a reference to a node"
MALFORMED: dict[str, tuple[bytes, str]] = {
    "not-json": (b"\x89PNG", "the symbol file is not JSON: 'utf-8' codec can't decode"),
    "half": (symbol.dump(SMALL)[:50], "the symbol file is not JSON: "),
    "deep": (b"[" * 100_000, "the symbol file is not JSON: maximum recursion depth exceeded"),
    "large": (bytes((8 << 20) + 1), "the symbol file has 8,388,609 bytes, at most 8,388,608 are"),
    "list": (b"[]", "the symbol file has no list of nodes"),
    "no-nodes": (b'{"heads": [[0, 0]]}', "the symbol file has no list of nodes"),
    "node": (graph(DATA, 5), "node 1 of the symbol is not an object"),
    "no-op": (graph(DATA, {"name": "x"}), "node 1 of the symbol has no op or no name"),
    "no-name": (graph(DATA, {"op": "x"}), "node 1 of the symbol has no op or no name"),
    "attributes": (graph({**DATA, "attrs": []}), "the attributes of node 'data' are not strings"),
    "attribute": (graph({**DATA, "attrs": {"a": 1}}), "the attributes of node 'data' are not str"),
    "inputs": (graph(DATA, {**RELU, "inputs": 0}), f"{NODE}: not a list"),
    "no-heads": (graph(DATA, RELU, heads=[]), "the symbol file names no output"),
    "heads": (graph(DATA, RELU, heads=None), "the list of heads of the symbol: not a list"),
    "head": (graph(DATA, heads=[[1, 0]]), "heads of the symbol: index 1 is out of range, 1 nodes"),
    "range": (relu_of(9, 0, 0), f"{NODE}: index 9 is out of range, 1 nodes come before"),
    "itself": (relu_of(1, 0, 0), f"{NODE}: index 1 is out of range, 1 nodes come before"),
    "forward": (graph(RELU, DATA), f"{NODE}: index 0 is out of range, 0 nodes come before"),
    "negative": (relu_of(-1, 0, 0), rf"{NODE}: \[-1, 0, 0\] {NOT_A_REFERENCE}"),
    "bool": (relu_of(False, 0, 0), rf"{NODE}: \[False, 0, 0\] {NOT_A_REFERENCE}"),
    "fraction": (relu_of(0.0, 0), rf"{NODE}: \[0.0, 0\] {NOT_A_REFERENCE}"),
    "short": (relu_of(0), rf"{NODE}: \[0\] {NOT_A_REFERENCE}"),
    "duplicate": (graph(DATA, DATA), "the symbol has two nodes called 'data'"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(text: bytes, message: str) -> None:
    """A malformed graph is refused with the place."""
    with pytest.raises(CheckpointError, match=message):
        symbol.parse(text)


def test_output_index() -> None:
    """An output that no operator has is refused, as MXNet would read outside its memory."""
    with pytest.raises(CheckpointError, match="inputs of node 'relu'"):
        symbol.parse(relu_of(0, 70_000, 0))


MISFITS = {
    "unused": (("arg:x",), "the symbol does not use the array 'x'"),
    "operator": (("arg:relu",), "the symbol does not use the array 'relu'"),
    "prefix": (("x",), "array 'x' is neither 'arg:…' nor 'aux:…'"),
    "no-name": (("arg:",), "array 'arg:' is neither 'arg:…' nor 'aux:…'"),
    "both": (("arg:data", "aux:data"), "array 'data' is both a parameter and an auxiliary state"),
}


@pytest.mark.parametrize(("names", "message"), MISFITS.values(), ids=MISFITS)
def test_misfitting_parameters(names: tuple[str, ...], message: str) -> None:
    """Parameters that the graph has no place for are refused by name."""
    arrays = params.dump({name: np.zeros(1) for name in names})
    with pytest.raises(CheckpointError, match=message):
        checkpoint.parse(symbol.dump(SMALL), arrays)


def test_reads_two_files() -> None:
    """A checkpoint is read from its two files."""
    read = checkpoint.parse(symbol.dump(SMALL), params.dump({"arg:data": np.ones(2)}))
    assert (read.symbol, list(read.arrays)) == (SMALL, ["data"])
