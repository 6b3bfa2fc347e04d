"""An MXNet checkpoint: a symbol and its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.errors import CheckpointError
from face_embedding_models.formats import PARAMS_FILE, SYMBOL_FILE
from face_embedding_models.mxnet import params, symbol
from face_embedding_models.mxnet.symbol import VARIABLE, Symbol


@dataclass(frozen=True)
class Checkpoint:
    """A network and its arrays by name, parameters and auxiliary states alike."""

    symbol: Symbol
    arrays: Mapping[str, NDArray[np.generic]]


def parse(symbol_bytes: bytes, params_bytes: bytes) -> Checkpoint:
    """Read a checkpoint and check that its two files belong together.

    Raises:
        CheckpointError: if either file is malformed, or if the parameters hold an array that no
            node uses.
    """
    graph = symbol.parse(symbol_bytes)
    arrays: dict[str, NDArray[np.generic]] = {}
    for full_name, array in params.parse(params_bytes).items():
        kind, _, name = full_name.partition(":")
        if kind not in ("arg", "aux") or not name:
            raise CheckpointError(f"array '{full_name:.100}' is neither 'arg:…' nor 'aux:…'")
        if name in arrays:
            raise CheckpointError(f"array '{name:.100}' is both a parameter and an auxiliary state")
        arrays[name] = array
    variables = {node.name for node in graph.nodes if node.op == VARIABLE}
    unused = sorted(arrays.keys() - variables)
    if unused:
        raise CheckpointError(f"the symbol does not use the array '{unused[0]:.100}'")
    return Checkpoint(graph, arrays)


def files(symbol_bytes: bytes, params_bytes: bytes) -> dict[str, bytes]:
    """Return the files of a checkpoint by name."""
    return {SYMBOL_FILE: symbol_bytes, PARAMS_FILE: params_bytes}
