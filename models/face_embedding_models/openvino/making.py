"""From the weights of a model to its IR and its golden embeddings, in a process of its own.

What that process makes is only read after this: the network has run there, and needs no more than
the limits.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov

from face_embedding_models import bounds, manifest, regular_files, sandbox
from face_embedding_models.errors import ConversionError, StoreError
from face_embedding_models.formats import ONNX_FILE, PARAMS_FILE, PARTS, SYMBOL_FILE, Format
from face_embedding_models.manifest import Manifest
from face_embedding_models.openvino import writing
from face_embedding_models.openvino.running import Embeddings, compile_for, embed_samples
from face_embedding_models.sandbox import Limits
from face_embedding_models.store import sealed
from face_embedding_models.store.stored import (
    GOLDEN_FILE,
    IR_MODEL_FILE,
    StoredModel,
)

# Measured with OpenVINO 2026.4 and two processors: 0.2 GiB for a file of 4 MB, and beyond that 6
# times the size of a float file (1.6 GiB for 261 MB), or 12 times that of a float16 one (1.5 GiB
# for 131 MB). The rest is room, also for the threads of larger machines.
BASE_BYTES = 2 << 30
BYTES_PER_BYTE = 16
# Measured there: 0.5 s for 4 MB, and 2.5 s for 136 MB.
BASE_PROCESSOR_S = 30
BYTES_PER_PROCESSOR_S = 1 << 20
# Others may want the processor too.
WALL_PER_PROCESSOR = 4


def make(model: StoredModel, folder: Path) -> None:
    """Make the IR of a model at f32, and its golden embeddings, in a folder.

    Raises:
        CheckpointError: if the weights are malformed.
        ConversionError: if the network cannot be converted.
        MeaninglessError: if its embeddings do not tell the sample faces apart.
        StoreError: if the weights were damaged, or the folder cannot be written.
    """
    weights = model.checkpoint_folder
    size = sum((weights / part.name).stat().st_size for part in PARTS[model.manifest.format])
    processor_s = BASE_PROCESSOR_S + size // BYTES_PER_PROCESSOR_S
    limits = Limits(
        memory_bytes=BASE_BYTES + BYTES_PER_BYTE * size,
        processor_s=processor_s,
        wall_s=WALL_PER_PROCESSOR * processor_s,
        # Float16 becomes float, and the network's graph comes beside it.
        file_bytes=(64 << 20) + 4 * size,
    )
    sandbox.run(
        make_here,
        limits,
        model.manifest.name,
        weights=str(weights),
        known=manifest.to_json(model.manifest),
        folder=str(folder),
    )


def make_here(weights: str, known: str, folder: str) -> None:
    """Do what `make` does, in this process.

    Args:
        weights: the folder of the weights.
        known: the manifest, as JSON.
        folder: where to.
    """
    described = manifest.from_json(known)
    network = _CONVERTERS[described.format](Path(weights), described)
    _check_results(network)
    target = Path(folder)
    writing.write(network, target / IR_MODEL_FILE)
    golden = _golden_of(_written(target), described)
    data = io.BytesIO()  # NumPy's own error does not say why a file cannot be written.
    np.save(data, golden)
    try:
        regular_files.write(target / GOLDEN_FILE, data.getvalue())
    except OSError as error:
        raise StoreError(f"cannot write {target / GOLDEN_FILE}: {error}") from error


def _convert_checkpoint(weights: Path, known: Manifest) -> ov.Model:
    from face_embedding_models.mxnet import checkpoint, conversion

    files = (sealed.read_file(weights, name) for name in (SYMBOL_FILE, PARAMS_FILE))
    return conversion.convert(checkpoint.parse(*files), known)


def _convert_onnx(weights: Path, known: Manifest) -> ov.Model:
    try:
        # Here, as only who has ONNX files needs what reads them.
        from face_embedding_models.onnx import conversion
    except ImportError as error:
        raise ConversionError(
            f"what reads ONNX files cannot be imported ({error}); install it with "
            f"pip install 'face-embedding[server,onnx]'"
        ) from error
    sealed.read_file(weights, ONNX_FILE)  # Whether it is undamaged.
    return conversion.convert(weights / ONNX_FILE, known)


_CONVERTERS: dict[Format, Callable[[Path, Manifest], ov.Model]] = {
    "mxnet": _convert_checkpoint,
    "onnx": _convert_onnx,
}


def _check_results(network: ov.Model) -> None:
    """Refuse a network that needs very much memory for a face, before any of it is taken."""
    for node in network.get_ordered_ops():
        where = f"{node.get_type_name()} '{node.get_friendly_name():.60}'"
        for output in node.outputs():
            bounds.check_result(where, output.get_partial_shape())


def _written(folder: Path) -> ov.Model:
    """Return the network that was written, if all of it was."""
    try:
        return ov.Core().read_model(folder / IR_MODEL_FILE)
    except RuntimeError as error:
        raise StoreError(f"{folder} does not hold what was written to it: {error}") from error


def _golden_of(network: ov.Model, known: Manifest) -> Embeddings:
    """Return the embeddings of the sample faces, if they can mean anything."""
    try:
        return embed_samples(compile_for(network, "f32"), known.input)
    except RuntimeError as error:
        raise ConversionError(f"OpenVINO cannot run it: {error}") from error
