"""MXNet checkpoints that are small and ask for very much."""

import struct
from collections.abc import Callable

import numpy as np

from face_embedding_models.mxnet import params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol

WEIGHTS = {"arg:w": np.ones((3, 3, 1, 1), np.float32)}
CONVOLUTION = {"kernel": "(1, 1)", "num_filter": "3", "no_bias": "True"}
Checkpoint = tuple[bytes, bytes]


def convolution(**attributes: str) -> Checkpoint:
    nodes = (
        Node("null", "data"),
        Node("null", "w"),
        Node("Convolution", "c", (0, 1), CONVOLUTION | attributes),
        Node("Flatten", "fc1", (2,)),
    )
    return symbol.dump(Symbol(nodes, (3,))), params.dump(WEIGHTS)


def chain(count: int, op: str, inputs: int = 1, **attributes: str) -> Checkpoint:
    """Return a chain of operators that take what comes before them, once or several times."""
    nodes = [Node("null", "data")]
    nodes += [Node(op, f"n{i}", (i,) * inputs, attributes) for i in range(count)]
    nodes.append(Node("Flatten", "fc1", (count,)))
    return symbol.dump(Symbol(tuple(nodes), (count + 1,))), params.dump({})


def arrays(count: int) -> Checkpoint:
    empty = struct.pack("<IiIqiii", 0xF993FAC9, 0, 1, 0, 1, 0, 0)
    return convolution()[0], struct.pack("<QQQ", 0x112, 0, count) + empty * count


BOMBS: dict[str, tuple[Callable[[], Checkpoint], str]] = {
    "pad": (
        lambda: convolution(pad="(20000, 20000)"),
        r"Convolution 'c': its result for a face has the shape \[1, 3, 40112, 40112\], and at most",
    ),
    "large-pad": (lambda: convolution(pad=f"(0, {10**18})"), "pad is 10+, it has to be at most"),
    "filters": (lambda: convolution(num_filter="9" * 5000), "num_filter=9{60} cannot be under"),
    "nested": (lambda: convolution(kernel="(" * 100_000), r"kernel=\({60} cannot be understood"),
    "windows": (
        lambda: chain(1, "Pooling", kernel="(999999, 999999)", pad="(999998, 999998)"),
        r"Pooling 'n0': its result for a face has the shape \[1, 1000110, 1000110\]",
    ),
    "doubled": (
        lambda: chain(15, "Concat", 2, dim="2"),
        r"Concat 'n11': its result for a face has",
    ),
    "chain": (lambda: chain(7_000, "relu"), "the symbol has 7,002 nodes, at most 6,000 are"),
    "arrays": (lambda: arrays(10**5), "the .params file has 100,000 arrays, at most 20,000 are"),
    "symbol": (lambda: (b"[" * (9 << 20), b""), "has more than 8,388,608 bytes"),
}
