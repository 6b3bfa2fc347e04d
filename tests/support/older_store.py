"""What an earlier version of this program put to use, without asking what embeddings mean."""

from pathlib import Path

import numpy as np
import openvino as ov

from face_embedding_models import manifest
from face_embedding_models.mxnet import checkpoint, conversion, params
from face_embedding_models.openvino import ir
from face_embedding_models.openvino.running import compile_for, embed
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store, sealed
from face_embedding_models.store.stored import GOLDEN_FILE, IR_MODEL_FILE, StoredModel
from support import MOBILE, SYNTHETIC

Files = dict[str, bytes]


def changed(model: StoredModel, **arrays: float | np.ndarray) -> Files:
    """Return a model's checkpoint with parameters that are multiplied, each by its name."""
    symbol_bytes, params_bytes = model.read_checkpoint_files()
    given = params.parse(params_bytes)
    for name, factor in arrays.items():
        given[f"arg:{name}"] = (given[f"arg:{name}"] * factor).astype(np.float32)
    return checkpoint.files(symbol_bytes, params.dump(given))


def constant(model: StoredModel) -> Files:
    """Return a checkpoint that gives every face the same embedding, which is not zero."""
    files = changed(model, conv_1_conv2d_weight=0)
    symbol_bytes, params_bytes = files.values()
    given = params.parse(params_bytes)
    given["arg:fc1_beta"] = np.ones_like(given["arg:fc1_beta"])
    return checkpoint.files(symbol_bytes, params.dump(given))


def put(store: Store, files: Files) -> StoredModel:
    """Put a checkpoint into a store and to use, with its IR, whatever its embeddings are."""

    def prepare(model: StoredModel, parts: Path) -> None:
        known = model.manifest
        network = conversion.convert(checkpoint.parse(*files.values()), known)
        faces = sample_faces(known.input.width, known.input.height)

        def fill(folder: Path) -> None:
            ov.save_model(network, folder / IR_MODEL_FILE, compress_to_fp16=False)
            written = compile_for(ov.Core().read_model(folder / IR_MODEL_FILE), ir.PRECISION)
            np.save(folder / GOLDEN_FILE, embed(written, [face.pixels_bgr for face in faces]))

        record = model.identity(ir.PRECISION)
        sealed.write(parts / model.ir_folder(ir.PRECISION).name, fill, record)

    added = store.add(manifest.load(MOBILE), files, SYNTHETIC, prepare)
    store.use(added)
    return added
