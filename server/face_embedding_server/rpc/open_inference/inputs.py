"""From the request of the Open Inference Protocol to faces, and from embeddings to its answer."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding_models.manifest import ChannelOrder
from face_embedding_models.texts import clipped
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.face import (
    Aligned,
    Detect,
    EncodedImage,
    Face,
    Preparation,
    RawImage,
    Selection,
)
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.reader import PreparedFace
from face_embedding_server.inference.model import EmbeddedFace, ServedModel
from face_embedding_server.rpc.open_inference import tensors
from face_embedding_server.rpc.open_inference.tensors import refusal

RAW_OUTPUT, NORMALIZED_OUTPUT = OUTPUTS = ("pre_fc1", "embedding")
_WARNINGS = "warnings"
_PRECISION = "precision"
_TURNED_DEGREES = "turned_degrees"
_CHANNELS = 3
_MAX_VALUE = 255
_CHANNEL_ORDERS: tuple[ChannelOrder, ...] = ("BGR", "RGB")
_PREPARATIONS: dict[str, Preparation] = {
    "aligned": Aligned(),
    "detect": Detect(Selection.ONLY),
    "central": Detect(Selection.CENTRAL),
    "largest": Detect(Selection.LARGEST),
}
_UPRIGHT = {"as_is": False, "auto": True}
_CHECK_ALIGNMENT = {"false": False, "true": True}
# What clients of other servers send along, and what means nothing here.
_IGNORED_PARAMETERS = frozenset(
    {"priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "binary_data_output"}
)
_IGNORED_INPUT_PARAMETERS = frozenset({"binary_data_size", "content_type"})


@dataclass(frozen=True)
class Job:
    """A face of a request.

    Args:
        photograph: whether it has to be found or aligned.
        embed: embeds it.
    """

    photograph: bool
    embed: Callable[[], EmbeddedFace]


@dataclass(frozen=True)
class Input:
    """An input that a model takes.

    Args:
        name: its name.
        datatype: the type of its values.
        face_shape: its shape for one face.
        parameters: the request's parameters that say what the values are, each with its values, of
            which the first is the default.
    """

    name: str
    datatype: str
    face_shape: tuple[int, ...]
    parameters: Mapping[str, Sequence[str]]


def inputs_of(size: ImageSize) -> tuple[Input, ...]:
    """Return the inputs of a model by the size of an aligned face."""
    height, width = size.height, size.width
    order: dict[str, Sequence[str]] = {"channel_order": _CHANNEL_ORDERS}
    check: dict[str, Sequence[str]] = {"check_alignment": tuple(_CHECK_ALIGNMENT)}
    preparation = {"preparation": tuple(_PREPARATIONS), "upright": tuple(_UPRIGHT)}
    return (
        Input("data", "FP32", (_CHANNELS, height, width), order),
        Input("face", "UINT8", (height, width, _CHANNELS), order | check),
        Input("image", "BYTES", (), preparation | check),
    )


def jobs(request: oip.ModelInferRequest, model: ServedModel, max_faces: int) -> list[Job]:
    """Return the faces of a request.

    Raises:
        Refusal: if its tensors or parameters are not what the model takes.
    """
    wanted = _input_of(request, model.reader.size)
    count = _count(request.inputs[0].shape, wanted, max_faces)
    choices = _choices(request, wanted)
    if wanted.datatype == "BYTES":
        files = tensors.files(request, count)
        preparation = _preparation(choices)
        return [_of_face(Face(EncodedImage(data), preparation), model) for data in files]
    order = choices["channel_order"]
    shape = (count, *wanted.face_shape)
    if wanted.datatype == "UINT8":
        faces = tensors.numbers(request, np.uint8, shape)
        aligned = Aligned(_CHECK_ALIGNMENT[choices["check_alignment"]])
        return [_of_face(Face(RawImage(face, _order(order)), aligned), model) for face in faces]
    planes = tensors.numbers(request, np.float32, shape)
    return [_of_pixels(face, model) for face in _pixels(planes, order)]


def add_outputs(
    response: oip.ModelInferResponse,
    names: Sequence[str],
    embedded: Sequence[EmbeddedFace],
    *,
    raw: bool,
) -> None:
    """Put the outputs of these names into an answer, raw or typed."""
    vectors = np.stack([each.raw for each in embedded])
    norms = np.array([[each.norm] for each in embedded], np.float32)
    values = {RAW_OUTPUT: vectors, NORMALIZED_OUTPUT: vectors / norms}
    for name in names:
        tensors.add(response, name, values[name], raw=raw)


def add_precision(response: oip.ModelInferResponse, precision: str) -> None:
    """Put the precision that the embeddings were made at into an answer."""
    response.parameters[_PRECISION].string_param = precision


def add_warnings(response: oip.ModelInferResponse, embedded: Sequence[EmbeddedFace]) -> None:
    """Put the reasons of the warnings of each face into an answer, if there are any."""
    if any(each.warnings for each in embedded):
        reasons = [[found.reason.name for found in each.warnings] for each in embedded]
        response.parameters[_WARNINGS].string_param = json.dumps(reasons)


def add_turns(response: oip.ModelInferResponse, embedded: Sequence[EmbeddedFace]) -> None:
    """Put the turn of each photograph into an answer, if any was turned."""
    turns = [each.detection.turned_degrees if each.detection else 0 for each in embedded]
    if any(turns):
        response.parameters[_TURNED_DEGREES].string_param = json.dumps(turns)


def wanted_outputs(request: oip.ModelInferRequest) -> Sequence[str]:
    """Return the names of the outputs that a request asks for.

    Raises:
        Refusal: if there is no such output.
    """
    if len(request.outputs) > len(OUTPUTS):
        raise refusal(f"there are only {len(OUTPUTS)} outputs: {', '.join(OUTPUTS)}", "outputs")
    for index, output in enumerate(request.outputs):
        if output.name not in OUTPUTS:
            raise refusal(
                f"'{clipped(output.name)}' is no output; these are: {', '.join(OUTPUTS)}",
                f"outputs[{index}].name",
            )
        for name in output.parameters:
            raise refusal(
                f"an output has no parameter '{clipped(name)}'", f"outputs[{index}].parameters"
            )
    names = [output.name for output in request.outputs]
    if len(set(names)) < len(names):
        raise refusal("an output is asked for twice", "outputs")
    return names or OUTPUTS


def _input_of(request: oip.ModelInferRequest, size: ImageSize) -> Input:
    if len(request.inputs) != 1:
        raise refusal(f"give exactly one input, there are {len(request.inputs)}", "inputs")
    tensor = request.inputs[0]
    known = {each.name: each for each in inputs_of(size)}
    wanted = known.get(tensor.name)
    if wanted is None:
        raise refusal(
            f"'{clipped(tensor.name)}' is no input; these are: {', '.join(known)}", "inputs[0].name"
        )
    if tensor.datatype != wanted.datatype:
        raise refusal(
            f"'{wanted.name}' is {wanted.datatype}, not {clipped(tensor.datatype)}",
            "inputs[0].datatype",
        )
    for name in tensor.parameters:
        if name not in _IGNORED_INPUT_PARAMETERS:
            raise refusal(f"an input has no parameter '{clipped(name)}'", "inputs[0].parameters")
    return wanted


def _count(shape: Sequence[int], wanted: Input, max_faces: int) -> int:
    """Return the number of faces of a tensor."""
    count, face_shape = (shape[0], tuple(shape[1:])) if shape else (0, ())
    # A file each may also stand in a row of its own.
    if face_shape != wanted.face_shape and not (wanted.datatype == "BYTES" and face_shape == (1,)):
        expected = ", ".join(map(str, ("n", *wanted.face_shape)))
        raise refusal(
            f"the shape of '{wanted.name}' is [{expected}], not {clipped(shape)}", "inputs[0].shape"
        )
    if count < 1:
        raise Refusal(Reason.NO_FACES, "the request holds no face", "inputs[0].shape")
    if count > max_faces:
        raise Refusal(
            Reason.TOO_MANY_FACES,
            f"{count} faces in one request, at most {max_faces} are taken",
            "inputs[0].shape",
        )
    return count


def _choices(request: oip.ModelInferRequest, wanted: Input) -> dict[str, str]:
    """Return what the request says of the values of its input, by parameter."""
    for name in request.parameters:
        if name not in wanted.parameters and name not in _IGNORED_PARAMETERS:
            known = ", ".join(f"'{each}'" for each in wanted.parameters)
            raise refusal(
                f"'{wanted.name}' has no parameter '{clipped(name)}'; it has {known}", "parameters"
            )
    choices = {name: values[0] for name, values in wanted.parameters.items()}
    for name, values in wanted.parameters.items():
        if name in request.parameters:
            choices[name] = _text(request.parameters[name])
            if choices[name] not in values:
                raise refusal(
                    f"'{name}' is one of the strings {', '.join(values)}, not "
                    f"'{clipped(choices[name])}'",
                    "parameters",
                )
    return choices


def _text(parameter: oip.InferParameter) -> str:
    """Return a parameter as a string; whoever can sends `true` as a truth value."""
    is_bool = parameter.WhichOneof("parameter_choice") == "bool_param"
    return str(parameter.bool_param).lower() if is_bool else parameter.string_param


def _preparation(choices: Mapping[str, str]) -> Preparation:
    """Return how the faces of files are prepared, by what the request says."""
    preparation = _PREPARATIONS[choices["preparation"]]
    upright = _UPRIGHT[choices["upright"]]
    check = _CHECK_ALIGNMENT[choices["check_alignment"]]
    if isinstance(preparation, Detect):
        if check:
            raise refusal(
                "'check_alignment' is for aligned faces: set 'preparation' to aligned", "parameters"
            )
        return replace(preparation, upright=upright)
    if upright:
        raise refusal(
            "'upright' is for photographs: set 'preparation' to detect, central or largest",
            "parameters",
        )
    return Aligned(check)


def _order(choice: str) -> ChannelOrder:
    return "BGR" if choice == "BGR" else "RGB"


def _of_face(face: Face, model: ServedModel) -> Job:
    def embed() -> EmbeddedFace:
        (embedded,) = model.embed(face)
        return embedded

    return Job(face.is_photograph, embed)


def _of_pixels(face_bgr: NDArray[np.float32], model: ServedModel) -> Job:
    return Job(False, lambda: model.embed_prepared(PreparedFace(face_bgr)))


def _pixels(planes: NDArray[np.float32], channel_order: str) -> Iterator[NDArray[np.float32]]:
    """Yield faces, `[height, width, 3]` BGR, of their planes, `[n, 3, height, width]`.

    What the network would take for something else than pixels is refused.
    """
    for index, face in enumerate(planes):
        low, high = float(face.min()), float(face.max())
        # Written so that a value that is not a number is refused too.
        if not (low >= 0 and high <= _MAX_VALUE):
            raise refusal(
                f"'data' holds pixels from 0 to {_MAX_VALUE}, and these are from {low:g} to "
                f"{high:g}; the network itself subtracts and scales",
                f"inputs[0][{index}]",
            )
        if high <= 1:
            raise refusal(
                f"'data' holds pixels from 0 to {_MAX_VALUE}, and the largest of these is "
                f"{high:g}: were they scaled to 1 before?",
                f"inputs[0][{index}]",
            )
        # In one piece, as OpenCV and the engine take it: as a view it would be copied row by row.
        yield cv2.merge(list(face if channel_order == "BGR" else face[::-1]))
