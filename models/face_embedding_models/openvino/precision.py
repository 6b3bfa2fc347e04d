"""The precisions that a model can run at on OpenVINO, and what runs each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov


@dataclass(frozen=True)
class Precision:
    """What a precision is run as.

    Args:
        ir: the IR of the store that it runs.
        hint: the type that is asked of the engine, by its name. An int8 IR says itself which
            operators are quantized; the others run at f32.
    """

    ir: str
    hint: str


REFERENCE = "f32"
# The cosine similarity at which a change of decisions is counted, where none is given.
DRIFT_THRESHOLD = 0.4
# How near a precision in effect has to come to the golden embeddings, which are made at f32.
# Measured on MobileFaceNet and ResNet34: bf16 0.9997 and more, int8 0.973 and more.
GOLDEN_MIN_COSINE = {"bf16": 0.999, "f16": 0.999, "int8": 0.95}
PRECISIONS = {
    "f32": Precision("f32", "f32"),
    "bf16": Precision("f32", "bf16"),
    "int8": Precision("int8", "f32"),
}


def effective(compiled: "ov.CompiledModel", asked: str) -> str:
    """Return the precision that a compiled model runs at, which may not be the one asked for."""
    if PRECISIONS[asked].ir == "int8":
        return "int8"
    name: str = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return name
