"""int8 IR by post-training quantization.

NNCF, OpenVINO's own quantizer, chooses the scales from the activations that calibration faces give
rise to.
"""

import importlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.errors import MeaninglessError, QuantizationError
from face_embedding_models.openvino import drift, ir
from face_embedding_models.openvino.drift import Drift
from face_embedding_models.openvino.precision import PRECISIONS
from face_embedding_models.openvino.running import as_input, compile_for, embed_samples
from face_embedding_models.store import parts
from face_embedding_models.store.stored import StoredModel

PRECISION = "int8"
# Fewer give scales that fit these faces and no others.
MIN_FACES = drift.MIN_FACES
# One face in so many is kept out of the calibration, so that the drift, which is measured on all,
# covers faces that the scales were not chosen for.
HOLD_OUT = 4
# Depthwise convolutions do little of the work and most of the harm: with the trained MobileFaceNet
# the smallest cosine of held-out faces to their f32 embeddings is 0.982 with them quantized and
# 0.996 without, at 0.85 to 0.93 of the speed. ResNets have none.
_KEPT_AT_F32 = ["GroupConvolution"]


def quantize(model: StoredModel, faces_bgr: Sequence[NDArray[np.uint8]], threshold: float) -> Drift:
    """Make an int8 IR of a model in the store from its f32 IR.

    Args:
        model: the model, converted.
        faces_bgr: aligned faces, uint8 HWC BGR. Three in four are calibrated with, and their mirror
            images too.
        threshold: the cosine similarity at which decisions are compared.

    Returns:
        The drift on all these faces, which is kept with the model.

    Raises:
        QuantizationError: if there are too few faces, or NNCF is not installed.
        MeaninglessError: if what is quantized does not tell the sample faces apart any more.
        DriftError: if the threshold is not in [-1, 1].
        StoreError: if there is no f32 IR, or the store cannot be written.
    """
    if len(faces_bgr) < MIN_FACES:
        raise QuantizationError(
            f"{len(faces_bgr)} faces are too few to calibrate with; give at least {MIN_FACES} "
            f"aligned faces, better hundreds, like those that will be embedded"
        )
    drift.check_threshold(threshold)
    nncf = _import_nncf()
    inputs = [as_input(face) for index, face in enumerate(faces_bgr) if index % HOLD_OUT]
    mirrored = [face[..., ::-1].copy() for face in inputs]
    network = nncf.quantize(
        ir.read(model),
        nncf.Dataset([*inputs, *mirrored]),
        subset_size=2 * len(inputs),
        ignored_scope=nncf.IgnoredScope(types=_KEPT_AT_F32, validate=False),
    )
    try:
        embed_samples(compile_for(network, PRECISIONS[PRECISION].hint), model.manifest.input)
    except MeaninglessError as error:
        raise MeaninglessError(
            f"{model.manifest.name} at {PRECISION}: {error}; were the faces aligned ones?"
        ) from error
    with parts.changing(model.folder) as pending:
        ir.save(network, model, PRECISION, {"nncf": nncf.__version__}, pending)
    return drift.measure(model, PRECISION, faces_bgr, threshold)


def _import_nncf() -> Any:
    try:
        nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise QuantizationError(
            f"NNCF cannot be imported ({error}); install it with "
            f"pip install 'face-embedding[server,quantize]'"
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf
