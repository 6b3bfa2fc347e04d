"""A network of YuNet's form that finds white cells instead of faces."""

import math

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# YuNet has a head of each kind for each stride; `bbox` is the centre's offset and the logarithm of
# the size, and `kps` five points, all in strides from the cell's corner.
STRIDES = (8, 16, 32)
CELL = STRIDES[0]
HEADS: dict[str, list[float]] = {
    "cls": [0],
    "obj": [1],
    "bbox": [0.5, 0.5, math.log(4), math.log(6)],
    "kps": [-1, -2, 1, -2, 0, 0, -1, 1, 1, 1],
}


def white_cells() -> onnx.ModelProto:
    """A network with YuNet's inputs and outputs whose class score is the brightness of a cell."""
    nodes, weights, outputs = [], [], []
    for kind, biases in HEADS.items():
        for stride in STRIDES:
            kernel = np.zeros((len(biases), 3, stride, stride), np.float32)
            if kind == "cls" and stride == CELL:
                kernel[:] = 1 / (255 * kernel[0].size)
            name, size = f"{kind}_{stride}", np.array([1, -1, len(biases)])
            weights += [
                numpy_helper.from_array(kernel, f"{name}_w"),
                numpy_helper.from_array(np.array(biases, np.float32), f"{name}_b"),
                numpy_helper.from_array(size, f"{name}_s"),
            ]
            strides = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
            nodes += [
                helper.make_node(
                    "Conv", ["input", f"{name}_w", f"{name}_b"], [f"{name}_c"], **strides
                ),
                helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_t", f"{name}_s"], [name]),
            ]
            cells = (640 // stride) ** 2
            outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, len(biases)])
            )
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "white", [given], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def with_cells(width: int, height: int, *cells: tuple[int, int]) -> np.ndarray:
    """A black image with white cells at these columns and rows of cells."""
    image = np.zeros((height, width, 3), np.uint8)
    for column, row in cells:
        cv2.rectangle(
            image,
            (column * CELL, row * CELL),
            (column * CELL + CELL - 1, row * CELL + CELL - 1),
            (255, 255, 255),
            cv2.FILLED,
        )
    return image
