"""MXNet's symbol JSON: the graph of a network.

A symbol file lists the nodes of a graph in topological order. The form changed over the years:
a node's attributes stand under `attrs` (since 1.0), `attr` (0.9 to 1.0) or `param` (before 0.9,
where the auxiliary states of BatchNorm were left out of its inputs as well). All of them are read;
the current one is written.

Source: `src/nnvm/legacy_json_util.cc` and `nnvm/src/pass/saveload_json.cc` of Apache MXNet 1.9.1.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from face_embedding_models import bounds
from face_embedding_models.errors import CheckpointError

VARIABLE = "null"
_MAX_NAME = 200
_ATTRIBUTE_KEYS = ("param", "attr", "attrs")
_MXNET_VERSION = 10901
_BATCH_NORM_STATES = ("gamma", "beta", "moving_mean", "moving_var")


@dataclass(frozen=True)
class Node:
    """One node: a variable (`op == "null"`) or an operator applied to earlier nodes.

    `inputs` holds indices of earlier nodes. Of a node with several outputs only the first can be
    used, which is all that recognition networks do.
    """

    op: str
    name: str
    inputs: tuple[int, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Symbol:
    """A graph: nodes in topological order and the index of each output node."""

    nodes: tuple[Node, ...]
    heads: tuple[int, ...]

    def index_of(self, name: str) -> int:
        """Return the index of the node called `name`.

        Raises:
            CheckpointError: if there is none.
        """
        for index, node in enumerate(self.nodes):
            if node.name == name:
                return index
        operators = [node.name for node in self.nodes if node.op != VARIABLE]
        raise CheckpointError(
            f"the symbol has no node '{name}'; its last nodes are {', '.join(operators[-3:])}"
        )

    def reachable_from(self, index: int) -> list[int]:
        """Return the indices of the nodes that the node at `index` depends on, and itself, sorted.

        Sorted is topological, as a node's inputs come before it.
        """
        seen: set[int] = set()
        waiting = [index]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting.extend(self.nodes[current].inputs)
        return sorted(seen)


def parse(text: bytes) -> Symbol:
    """Read a symbol file of any age.

    Raises:
        CheckpointError: if it is not JSON, or not a well-formed graph. In particular every index
            is checked, as MXNet itself would read outside its memory.
    """
    if len(text) > bounds.MAX_SYMBOL_BYTES:
        raise CheckpointError(
            f"the symbol file has {len(text):,} bytes, at most {bounds.MAX_SYMBOL_BYTES:,} are read"
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the symbol file is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise CheckpointError("the symbol file has no list of nodes")
    if (count := len(document["nodes"])) > bounds.MAX_NODES:
        raise CheckpointError(
            f"the symbol has {count:,} nodes, at most {bounds.MAX_NODES:,} are read"
        )
    nodes: list[Node] = []
    moved: list[int] = []  # Where each node of the file is in `nodes`.
    for number, entry in enumerate(document["nodes"]):
        node = _parse_node(entry, number, moved)
        if node.op == "BatchNorm" and len(node.inputs) == 3:
            node = _with_implicit_states(node, nodes)
        moved.append(len(nodes))
        nodes.append(node)
    _check_unique(node.name for node in nodes)
    heads = _parse_references(document.get("heads"), "the list of heads", moved)
    if not heads:
        raise CheckpointError("the symbol file names no output")
    return Symbol(tuple(nodes), heads)


def dump(symbol: Symbol) -> bytes:
    """Write a symbol in MXNet's current form; the same symbol always gives the same bytes."""
    document = {
        "nodes": [_dump_node(node) for node in symbol.nodes],
        "arg_nodes": [i for i, node in enumerate(symbol.nodes) if node.op == VARIABLE],
        "node_row_ptr": list(range(len(symbol.nodes) + 1)),
        "heads": [[index, 0, 0] for index in symbol.heads],
        "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _dump_node(node: Node) -> dict[str, Any]:
    entry: dict[str, Any] = {"op": node.op, "name": node.name}
    if node.attributes:
        entry["attrs"] = dict(node.attributes)
    entry["inputs"] = [[index, 0, 0] for index in node.inputs]
    return entry


def _parse_node(entry: Any, number: int, moved: list[int]) -> Node:
    if not isinstance(entry, dict):
        raise CheckpointError(f"node {number} of the symbol is not an object")
    op, name = entry.get("op"), entry.get("name")
    if not isinstance(op, str) or not isinstance(name, str):
        raise CheckpointError(f"node {number} of the symbol has no op or no name")
    if not name.isprintable() or len(name) > _MAX_NAME:
        raise CheckpointError(
            f"node {number} of the symbol has the unprintable or long name {name[:60]!r}"
        )
    attributes: dict[str, str] = {}
    for key in _ATTRIBUTE_KEYS:
        part = entry.get(key, {})
        if not isinstance(part, dict) or not all(isinstance(v, str) for v in part.values()):
            raise CheckpointError(f"the attributes of node '{name}' are not strings by name")
        attributes.update(part)
    inputs = _parse_references(entry.get("inputs", []), f"the inputs of node '{name}'", moved)
    if entry.get("control_deps") or (op == VARIABLE and inputs):
        raise CheckpointError(f"node '{name}' of the symbol depends on what it cannot use")
    return Node(op, name, inputs, attributes)


def _parse_references(value: Any, where: str, moved: list[int]) -> tuple[int, ...]:
    """Read references `[node, output, version]` to the nodes read so far."""
    if not isinstance(value, list):
        raise CheckpointError(f"{where} of the symbol: not a list")
    references = []
    for item in value:
        if (
            not isinstance(item, list)
            or len(item) not in (2, 3)
            or not all(type(part) is int and part >= 0 for part in item)
        ):
            raise CheckpointError(
                f"{where} of the symbol: {item!r:.100} is not a reference to a node"
            )
        if item[0] >= len(moved):
            raise CheckpointError(
                f"{where} of the symbol: index {item[0]!s:.40} is out of range, "
                f"{len(moved)} nodes come before"
            )
        if item[1] != 0:
            raise CheckpointError(
                f"{where} of the symbol: output {item[1]!s:.40} of a node is not supported"
            )
        references.append(moved[item[0]])
    return tuple(references)


def _with_implicit_states(node: Node, nodes: list[Node]) -> Node:
    """Append the variables that the oldest form leaves out, and refer to them."""
    first = len(nodes)
    nodes.extend(Node(VARIABLE, f"{node.name}_{state}") for state in _BATCH_NORM_STATES[2:])
    return Node(node.op, node.name, (*node.inputs, first, first + 1), node.attributes)


def _check_unique(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CheckpointError(f"the symbol has two nodes called '{name}'")
        seen.add(name)
