"""OpenVINO IR: making it from stored weights, and what it costs to run.

With the f32 IR come golden embeddings, those that it gives for the sample faces when it is made. A
server holds its own against them before it lets requests in.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from face_embedding_models import meaning
from face_embedding_models.errors import MeaninglessError, StoreError
from face_embedding_models.manifest import Manifest
from face_embedding_models.openvino import making, writing
from face_embedding_models.openvino.running import Embeddings, compile_for, embed_samples
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.similarity import comparable
from face_embedding_models.store import Store, parts, sealed
from face_embedding_models.store.stored import (
    GOLDEN_FILE,
    IR_MODEL_FILE,
    Provenance,
    StoredModel,
)

PRECISION = "f32"

# How `np.save` begins, in version 1.0 of the format; the length of the header follows.
# https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
_NPY = b"\x93NUMPY\x01\x00"
_NPY_LENGTH_BYTES = 2

# The key of the record that tells which checks of its meaning an IR has passed.
_MEANING = "meaning"

_ELEMENTWISE = {"Add", "Subtract", "Multiply", "Divide", "PRelu", "Relu", "Sigmoid", "Clamp"}


@dataclass(frozen=True)
class Cost:
    """The size of a network and the work for one face.

    Args:
        mparams: millions of floating point parameters.
        gflops: billions of floating point operations; a multiplication and an addition are two.
    """

    mparams: float
    gflops: float


def convert(model: StoredModel) -> Path:
    """Convert a model's weights to IR, f32, in the store, and return the IR's folder.

    Raises:
        ModelError: as `making.make` does; the store is as it was.
    """
    with parts.changing(model.folder) as pending:
        _convert_into(model, pending)
    return model.ir_folder(PRECISION)


def _convert_into(model: StoredModel, folder: Path) -> None:
    """Convert a model's weights to an IR in a folder of parts."""
    _seal(lambda pending: making.make(model, pending), model, PRECISION, {}, folder)


def put_to_use(
    store: Store, known: Manifest, files: Mapping[str, bytes], provenance: Provenance
) -> StoredModel:
    """Put weights into the store, convert them, and only then let servers see them.

    Args:
        store: where to.
        known: the model's manifest.
        files: the weights by the names of `formats.PARTS`.
        provenance: where they come from.

    Raises:
        ModelError: if they are not the model's, or cannot be converted; the store is as it was.
    """
    added = store.add(known, files, provenance, _convert_into)
    store.use(added)
    return added


def check(model: StoredModel) -> None:
    """Refuse a model whose IR, which an earlier program may have made, means nothing.

    Raises:
        MeaninglessError: if it does; see `meaning`.
        StoreError: if there is no IR, or it was damaged.
    """
    try:
        embed_samples(compile_for(read(model), PRECISION), model.manifest.input)
    except MeaninglessError as error:
        raise MeaninglessError(f"{model.manifest.name} {model.version}: {error}") from error


def is_checked(model: StoredModel) -> bool:
    """Tell whether a model's IR has passed all checks of `meaning` when it was made.

    Raises:
        StoreError: if there is no IR, or its record is damaged.
    """
    return sealed.read_record(model.ir_folder(PRECISION)).get(_MEANING) == meaning.CHECKS


def save(
    network: ov.Model, model: StoredModel, precision: str, record: Mapping[str, Any], parent: Path
) -> None:
    """Make the part of a model that is an IR, with what is to be remembered of it.

    Args:
        network: the IR.
        model: the model.
        precision: the precision of the IR.
        record: what is to be remembered.
        parent: the folder to make it in; see `parts.changing`.

    Raises:
        StoreError: if the store cannot be written.
    """

    def fill(pending: Path) -> None:
        writing.write(network, pending / IR_MODEL_FILE)

    _seal(fill, model, precision, record, parent)


def _seal(
    fill: Callable[[Path], None],
    model: StoredModel,
    precision: str,
    record: Mapping[str, Any],
    parent: Path,
) -> None:
    # The time tells a server that what it refused was made anew, though every byte is the same.
    made = {"openvino": ov.get_version(), "made_ns": time.time_ns(), _MEANING: meaning.CHECKS}
    sealed.write(
        parent / model.ir_folder(precision).name,
        fill,
        {**model.identity(precision), **made, **record},
    )


def read(model: StoredModel, precision: str = PRECISION) -> ov.Model:
    """Read a model's IR from the store, verified, and not mapped: later damage cannot reach it.

    Raises:
        StoreError: if there is none at that precision, or it was damaged.
    """
    xml, weights = model.read_ir_files(precision)
    try:
        return ov.Core().read_model(model=xml, weights=weights)
    except RuntimeError as error:
        raise StoreError(f"OpenVINO cannot read {model.ir_folder(precision)}: {error}") from error


def read_golden(model: StoredModel) -> Embeddings:
    """Return the golden embeddings, raw, float32 `[faces, size]`, in the order of the sample faces.

    Raises:
        StoreError: if the model was not converted, or they were damaged since.
    """
    size, values = model.manifest.input, model.manifest.output.size
    shape = (len(sample_faces(size.width, size.height)), values)
    golden = _array(model.read_golden_file(), shape)
    if golden is None or not comparable(golden).all():
        raise StoreError(
            f"{model.ir_folder(PRECISION) / GOLDEN_FILE} holds no golden embeddings: these are no "
            f"{shape[0]} embeddings of {shape[1]} values; convert the model again"
        )
    return golden


def _array(data: bytes, shape: tuple[int, int]) -> Embeddings | None:
    """Return the float32 array of a shape that `np.save` wrote; None if it is none.

    NumPy's own reader evaluates what a file says of its array, and makes room for it.
    """
    start = len(_NPY) + _NPY_LENGTH_BYTES
    end = start + int.from_bytes(data[len(_NPY) : start], "little")
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    if not data.startswith(_NPY) or data[start:end].strip() != header:
        return None
    values = np.frombuffer(data[end:], np.uint8)
    if len(values) != math.prod(shape) * np.dtype(np.float32).itemsize:
        return None
    return values.view("<f4").reshape(shape)


def cost(network: ov.Model) -> Cost:
    """Count a network's parameters and its operations for one face."""
    single = network.clone()
    single.reshape([1, *list(single.input().get_partial_shape())[1:]])
    parameters, operations = 0, 0
    for node in single.get_ops():
        if node.get_type_name() == "Constant":
            if node.get_output_element_type(0).is_real():
                parameters += math.prod(node.get_output_shape(0))
        else:
            operations += _operations(node)
    return Cost(parameters / 1e6, operations / 1e9)


def _operations(node: ov.Node) -> int:
    kind = node.get_type_name()
    results: int = math.prod(node.get_output_shape(0)) if node.get_output_size() else 0
    if kind in _ELEMENTWISE:
        return results
    if kind == "MatMul":
        features: int = node.get_input_shape(1)[-1]
        return 2 * results * features
    if kind in ("Convolution", "GroupConvolution"):
        # Filters are [outputs, inputs, height, width], after the groups where there are some.
        per_result: int = math.prod(node.get_input_shape(1)[-3:])
        return 2 * results * per_result
    return 0
