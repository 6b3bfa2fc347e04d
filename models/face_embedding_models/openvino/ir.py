"""OpenVINO IR: making it from stored weights, and what it costs to run.

With the f32 IR come golden embeddings, those that it gives for the sample faces when it is made. A
server holds its own against them before it lets requests in.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from face_embedding_models.errors import ConversionError, StoreError
from face_embedding_models.formats import ONNX_FILE, Format
from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import conversion
from face_embedding_models.onnx import sandbox
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store, parts, sealed
from face_embedding_models.store.stored import (
    GOLDEN_FILE,
    IR_MODEL_FILE,
    Provenance,
    StoredModel,
)

PRECISION = "f32"

Embeddings = NDArray[np.float32]
# The least cosine of any two sample faces. Measured: 0.60 of the trained MobileFaceNet, and 0.9938
# where pixels are normalised twice.
_MOST_ALIKE = 0.99
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
        ConversionError: if the network cannot be converted, or gives no embeddings of the sample
            faces that tell them apart.
        StoreError: if the weights were damaged, or the store cannot be written.
    """
    with parts.changing(model.folder) as pending:
        _convert_into(model, pending)
    return model.ir_folder(PRECISION)


def _convert_into(model: StoredModel, folder: Path) -> None:
    """Convert a model's weights to an IR in a folder of parts."""
    network = _CONVERTERS[model.manifest.format](model, folder)
    save(network, model, PRECISION, {}, folder, _golden_of(network, model.manifest))


def _convert_checkpoint(model: StoredModel, _: Path) -> ov.Model:
    return conversion.convert(model.read_checkpoint(), model.manifest)


def _convert_onnx(model: StoredModel, parent: Path) -> ov.Model:
    model.read_onnx_file()  # Whether it is undamaged.
    with sealed.pending_folder(parent) as folder:
        return sandbox.convert(model.checkpoint_folder / ONNX_FILE, model.manifest, folder)


def _golden_of(network: ov.Model, known: Manifest) -> Embeddings:
    """Return the embeddings of the sample faces, if they are any."""
    faces = sample_faces(known.input.width, known.input.height)
    try:
        golden = embed(compile_for(network, PRECISION), [face.pixels_bgr for face in faces])
    except RuntimeError as error:
        raise ConversionError(f"{known.name}: OpenVINO cannot run it: {error}") from error
    for face, embedding in zip(faces, golden, strict=True):
        if not np.isfinite(embedding).all():
            raise ConversionError(
                f"{known.name}: the embedding of {face.name} holds values that are not finite"
            )
        if not embedding.any():
            raise ConversionError(f"{known.name}: the embedding of {face.name} is zero")
    directions = golden.astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if (least := float((directions @ directions.T).min())) > _MOST_ALIKE:
        raise ConversionError(
            f"{known.name}: the embeddings of faces that have nothing in common are the same, with "
            f"cosines of {least:.4f} and above; is the network trained, and fed as its manifest "
            f"says (mean, scale)?"
        )
    return golden


_CONVERTERS: dict[Format, Callable[[StoredModel, Path], ov.Model]] = {
    "mxnet": _convert_checkpoint,
    "onnx": _convert_onnx,
}


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


def save(
    network: ov.Model,
    model: StoredModel,
    precision: str,
    record: Mapping[str, Any],
    parent: Path,
    golden: Embeddings | None = None,
) -> None:
    """Make the part of a model that is an IR, with what is to be remembered of it.

    Args:
        network: the IR.
        model: the model.
        precision: the precision of the IR.
        record: what is to be remembered.
        parent: the folder to make it in; see `parts.changing`.
        golden: the raw embeddings of the sample faces, `[faces, size]`.

    Raises:
        StoreError: if the store cannot be written.
    """
    folder = parent / model.ir_folder(precision).name

    def fill(pending: Path) -> None:
        try:
            ov.save_model(network, pending / IR_MODEL_FILE, compress_to_fp16=False)
        except RuntimeError as error:
            raise StoreError(f"OpenVINO cannot write the IR to {folder}: {error}") from error
        if golden is not None:
            np.save(pending / GOLDEN_FILE, golden)

    origin = {**model.identity(precision), "openvino": ov.get_version()}
    sealed.write(folder, fill, {**origin, **record})


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
    try:
        golden: Embeddings = np.load(io.BytesIO(model.read_golden_file()))
    except (ValueError, EOFError, OSError) as error:
        raise _no_golden(model, str(error)) from error
    if golden.shape != shape or not np.isfinite(golden).all() or not golden.any(axis=1).all():
        raise _no_golden(model, f"these are no {shape[0]} embeddings of {shape[1]} values")
    return golden


def _no_golden(model: StoredModel, reason: str) -> StoreError:
    path = model.ir_folder(PRECISION) / GOLDEN_FILE
    return StoreError(f"{path} holds no golden embeddings: {reason}; convert the model again")


def compile_for(network: ov.Model, hint: str) -> ov.CompiledModel:
    """Compile an IR as it is, for the type that is asked of the engine."""
    return ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": hint})


def embed(compiled: ov.CompiledModel, faces_bgr: Sequence[NDArray[np.uint8]]) -> Embeddings:
    """Embed aligned faces, uint8 HWC BGR; return the raw embeddings, float32 `[faces, size]`."""
    embeddings: Embeddings = np.concatenate([compiled(as_input(face))[0] for face in faces_bgr])
    return embeddings


def as_input(face_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a face, uint8 HWC BGR, as the IR takes it: float32 `[1, 3, height, width]`."""
    return face_bgr.transpose(2, 0, 1)[np.newaxis].astype(np.float32)


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
