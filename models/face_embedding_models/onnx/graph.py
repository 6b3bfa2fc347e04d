"""The graph in an ONNX file: whether it is one that embeds faces, and what it calls its ends.

Source: https://github.com/onnx/onnx/blob/main/docs/IR.md
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from face_embedding_models import bounds
from face_embedding_models.errors import ConversionError
from face_embedding_models.manifest import Input, Output

# Twice as much, as float16 becomes float, still fits into a message of protobuf.
MAX_FILE_BYTES = 1_000_000_000
# Both stand for ONNX's own operators.
_ONNX_DOMAINS = ("", "ai.onnx")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def read(path: Path) -> onnx.GraphProto:
    """Read the graph of a file.

    Raises:
        ConversionError: if it is no ONNX, is too large, or keeps values in another file.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ConversionError(f"the file has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise ConversionError("the file is no ONNX, or a damaged one") from error
    if not model.graph.node:
        raise ConversionError("the file is no ONNX: it holds no graph with operators")
    if (count := len(model.graph.node)) > bounds.MAX_NODES:
        raise ConversionError(
            f"the network has {count:,} operators, at most {bounds.MAX_NODES:,} are read"
        )
    _check_opset(model)
    _refuse_external_data(model)
    _check_edges(model.graph)
    return model.graph


def _check_opset(model: onnx.ModelProto) -> None:
    versions = [each.version for each in model.opset_import if each.domain in _ONNX_DOMAINS]
    if not versions:
        raise ConversionError("the file is no ONNX: it names no version of the operators")
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= versions[0] <= newest:
        raise ConversionError(
            f"the file is of opset {versions[0]}; those from 1 to {newest} are known, so export "
            f"the network with one of them"
        )


def _check_edges(graph: onnx.GraphProto) -> None:
    """Check that each operator takes what comes before it, and gives something new."""
    inputs = {value.name for value in graph.input}
    known = inputs | {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    computed: set[str] = set()
    for node in graph.node:
        where = f"{node.op_type} '{node.name or ', '.join(node.output):.60}'"
        # An empty name stands for what is left out.
        for name in filter(None, node.input):
            if name not in known:
                raise ConversionError(f"{where} takes '{name:.60}', which nothing before it gives")
        given = set(filter(None, node.output))
        if again := given & (computed | inputs):
            raise ConversionError(f"{where} gives '{min(again):.60}', which is there already")
        computed |= given
        known |= given
    for value in graph.output:
        if value.name not in known:
            raise ConversionError(f"no operator gives the output '{value.name:.60}'")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield each tensor that a graph, and the graphs inside its operators, hold."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _refuse_external_data(model: onnx.ModelProto) -> None:
    functions = (node for function in model.functions for node in function.node)
    for tensor in (*_tensors(model.graph), *_tensors_of_nodes(functions)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ConversionError(
                f"the values of '{tensor.name}' are in another file (external data), which is not "
                f"read; save the model as one file"
            )


def input_of(graph: onnx.GraphProto, expected: Input) -> str:
    """Return the name of a network's only input.

    Raises:
        ConversionError: if there are others, or it does not take a face of the manifest.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    if len(inputs) != 1:
        raise ConversionError(
            f"the network has {len(inputs)} inputs ({_list(list(inputs))}), and one is expected"
        )
    ((name, value),) = inputs.items()
    if expected.name not in ("", name):
        raise ConversionError(
            f"the network's input is called '{name}'; the manifest says '{expected.name}'"
        )
    tensor = value.type.tensor_type
    if tensor.elem_type not in _FLOATS:
        known = {number: name for name, number in onnx.TensorProto.DataType.items()}
        kind = known.get(tensor.elem_type, str(tensor.elem_type)).lower()
        raise ConversionError(f"the input '{name}' is of the type {kind}, not float or float16")
    shape = [side.dim_value or -1 for side in tensor.shape.dim]
    wanted = (1, 3, expected.height, expected.width)
    fits = (given in (-1, one) for given, one in zip(shape, wanted, strict=False))
    if len(shape) != len(wanted) or not all(fits):
        raise ConversionError(
            f"the input '{name}' has the shape {_shape(shape)}; a batch of one face of the "
            f"manifest is {list(wanted)}"
        )
    return name


def output_of(graph: onnx.GraphProto, expected: Output) -> str:
    """Return the name of the output that the manifest names, or of the only one.

    Raises:
        ConversionError: if there is none, or several and no name.
    """
    names = [value.name for value in graph.output]
    if expected.name:
        if expected.name not in names:
            raise ConversionError(
                f"the network has no output '{expected.name}'; its outputs are {_list(names)}"
            )
        return expected.name
    if len(names) != 1:
        raise ConversionError(
            f"the network has {len(names)} outputs ({_list(names)}); the manifest has to name one "
            f"as [output] name"
        )
    return names[0]


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name:.60}'" for name in names[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _shape(shape: Sequence[int]) -> str:
    return "[" + ",".join("?" if side < 0 else str(side) for side in shape[:8]) + "]"
