"""The tensors of the Open Inference Protocol: from a request to faces, and back to an answer.

Source: the protocol's specification of `ModelInfer`, with its two forms of values, typed and raw.
"""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.embeddings import Vector
from face_embedding_server.errors import Refusal
from face_embedding_server.faces import is_photograph
from face_embedding_server.image_headers import ImageSize
from face_embedding_server.serving import ServedModel

RAW_OUTPUT, NORMALIZED_OUTPUT = OUTPUTS = ("pre_fc1", "embedding")
ANY_NUMBER = -1
_CHANNELS = 3
_MAX_VALUE = 255
_LENGTH = struct.Struct("<I")
_PREPARATIONS = {
    "aligned": pb.Face(aligned=pb.Aligned()),
    "detect": pb.Face(detect=pb.DetectFace(selection=pb.FACE_SELECTION_ONLY)),
    "largest": pb.Face(detect=pb.DetectFace(selection=pb.FACE_SELECTION_LARGEST)),
}
_CHANNEL_ORDERS = {"BGR": pb.CHANNEL_ORDER_BGR, "RGB": pb.CHANNEL_ORDER_RGB}
# What clients of other servers send along, and what means nothing here.
_IGNORED_PARAMETERS = frozenset(
    {"priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "binary_data_output"}
)

Number = TypeVar("Number", np.uint8, np.float32)
Embedded: TypeAlias = tuple[Vector, float]


@dataclass(frozen=True)
class Job:
    """A face of a request.

    Args:
        photograph: whether it has to be found or aligned.
        embed: gives its raw embedding, float32 `[size]`, and its norm.
    """

    photograph: bool
    embed: Callable[[], Embedded]


@dataclass(frozen=True)
class Input:
    """An input that a model takes: its name, data type, and shape for one face."""

    name: str
    datatype: str
    face_shape: tuple[int, ...]


def inputs_of(size: ImageSize) -> tuple[Input, ...]:
    """Return the inputs of a model by the size of an aligned face."""
    return (
        Input("data", "FP32", (_CHANNELS, size.height, size.width)),
        Input("face", "UINT8", (size.height, size.width, _CHANNELS)),
        Input("image", "BYTES", ()),
    )


def jobs(request: oip.ModelInferRequest, model: ServedModel, max_faces: int) -> list[Job]:
    """Return the faces of a request.

    Raises:
        Refusal: if its tensors or parameters are not what the model takes.
    """
    if len(request.inputs) != 1:
        raise _refusal(f"give exactly one input, there are {len(request.inputs)}", "inputs")
    tensor = request.inputs[0]
    known = {each.name: each for each in inputs_of(model.reader.size)}
    wanted = known.get(tensor.name)
    if wanted is None:
        raise _refusal(
            f"'{tensor.name}' is no input; these are: {', '.join(known)}", "inputs[0].name"
        )
    if tensor.datatype != wanted.datatype:
        raise _refusal(
            f"'{wanted.name}' is {wanted.datatype}, not {tensor.datatype}", "inputs[0].datatype"
        )
    count = _count(tensor.shape, wanted, max_faces)
    channel_order, preparation = _parameters(request, wanted)
    if wanted.name == "image":
        return [_of_message(_encoded(data, preparation), model) for data in _files(request, count)]
    shape = (count, *wanted.face_shape)
    if wanted.name == "face":
        faces = _numbers(request, np.uint8, request.inputs[0].contents.uint_contents, shape)
        return [_of_message(_raw_face(face, channel_order), model) for face in faces]
    numbers = _numbers(request, np.float32, request.inputs[0].contents.fp32_contents, shape)
    _check_values(numbers)
    ordered = numbers if channel_order == "BGR" else numbers[:, ::-1]
    return [_of_pixels(face.transpose(1, 2, 0), model) for face in ordered]


def add_outputs(
    response: oip.ModelInferResponse, request: oip.ModelInferRequest, embedded: Sequence[Embedded]
) -> None:
    """Put the embeddings into an answer, typed or raw as the request's values are."""
    raw = np.stack([vector for vector, _ in embedded])
    norms = np.array([[norm] for _, norm in embedded], np.float32)
    values = {RAW_OUTPUT: raw, NORMALIZED_OUTPUT: raw / norms}
    for name in wanted_outputs(request):
        output = response.outputs.add(name=name, datatype="FP32", shape=raw.shape)
        if request.raw_input_contents:
            response.raw_output_contents.append(values[name].astype("<f4").tobytes())
        else:
            output.contents.fp32_contents.extend(values[name].ravel().tolist())


def wanted_outputs(request: oip.ModelInferRequest) -> Sequence[str]:
    """Return the names of the outputs that a request asks for.

    Raises:
        Refusal: if there is no such output.
    """
    names = [output.name for output in request.outputs]
    for index, name in enumerate(names):
        if name not in OUTPUTS:
            raise _refusal(
                f"'{name}' is no output; these are: {', '.join(OUTPUTS)}", f"outputs[{index}].name"
            )
    return names or OUTPUTS


def _of_message(face: pb.Face, model: ServedModel) -> Job:
    def embed() -> Embedded:
        (embedded,) = model.embed(face)
        return embedded.raw, embedded.norm

    return Job(is_photograph(face), embed)


def _encoded(data: bytes, preparation: str) -> pb.Face:
    face = pb.Face(encoded=data)
    face.MergeFrom(_PREPARATIONS[preparation])
    return face


def _raw_face(pixels: NDArray[np.uint8], channel_order: str) -> pb.Face:
    height, width = pixels.shape[:2]
    order = _CHANNEL_ORDERS[channel_order]
    raw = pb.RawImage(data=pixels.tobytes(), width=width, height=height, channel_order=order)
    return pb.Face(raw=raw, aligned=pb.Aligned())


def _of_pixels(face_bgr: NDArray[np.float32], model: ServedModel) -> Job:
    return Job(False, lambda: model.embed_pixels(face_bgr))


def _count(shape: Sequence[int], wanted: Input, max_faces: int) -> int:
    """Return the number of faces of a tensor."""
    count, face_shape = (shape[0], tuple(shape[1:])) if shape else (0, ())
    # A file each may also stand in a row of its own.
    if face_shape != wanted.face_shape and not (wanted.name == "image" and face_shape == (1,)):
        expected = ", ".join(map(str, ("n", *wanted.face_shape)))
        raise _refusal(
            f"the shape of '{wanted.name}' is [{expected}], not {list(shape)}", "inputs[0].shape"
        )
    if count < 1:
        raise Refusal(pb.ERROR_REASON_NO_FACES, "the request holds no face", "inputs[0].shape")
    if count > max_faces:
        raise Refusal(
            pb.ERROR_REASON_TOO_MANY_FACES,
            f"{count} faces in one request, at most {max_faces} are taken",
            "inputs[0].shape",
        )
    return count


def _parameters(request: oip.ModelInferRequest, wanted: Input) -> tuple[str, str]:
    """Return the channel order and the preparation that a request states."""
    given = {
        name: value.string_param
        for name, value in request.parameters.items()
        if name not in _IGNORED_PARAMETERS
    }
    name, values = (
        ("preparation", list(_PREPARATIONS))
        if wanted.name == "image"
        else ("channel_order", list(_CHANNEL_ORDERS))
    )
    allowed = {name: values}
    for name, value in given.items():
        if name not in allowed:
            raise _refusal(
                f"'{wanted.name}' has no parameter '{name}'; it has {', '.join(allowed)}",
                f"parameters[{name}]",
            )
        if value not in allowed[name]:
            raise _refusal(
                f"'{name}' is one of {', '.join(allowed[name])}, not '{value}'",
                f"parameters[{name}]",
            )
    return given.get("channel_order", "BGR"), given.get("preparation", "aligned")


def _raw(request: oip.ModelInferRequest) -> bytes | None:
    """Return the raw values of the input, or None if they are typed."""
    if not request.raw_input_contents:
        return None
    if len(request.raw_input_contents) != 1 or request.inputs[0].HasField("contents"):
        raise _refusal(
            "give the values once, in raw_input_contents or in contents", "raw_input_contents"
        )
    return request.raw_input_contents[0]


def _numbers(
    request: oip.ModelInferRequest,
    kind: type[Number],
    typed: Sequence[float],
    shape: tuple[int, ...],
) -> NDArray[Number]:
    """Return the values of an input of numbers in their shape."""
    raw = _raw(request)
    where = "inputs[0].contents" if raw is None else "raw_input_contents[0]"
    given = len(typed) if raw is None else len(raw) / np.dtype(kind).itemsize
    if given != math.prod(shape):
        raise _refusal(
            f"the shape {list(shape)} stands for {math.prod(shape):,} values of "
            f"{np.dtype(kind).name}, there are {given:,g}",
            where,
        )
    if raw is not None:
        values: NDArray[Number] = np.frombuffer(raw, kind).reshape(shape)
        return values
    wide = np.array(typed, np.float64)
    if kind is np.uint8 and wide.max() > _MAX_VALUE:
        raise _refusal(f"{wide.max():g} is no UINT8", where)
    return wide.astype(kind).reshape(shape)


def _check_values(numbers: NDArray[np.float32]) -> None:
    """Refuse what the network would take for something else than pixels."""
    low, high = float(numbers.min()), float(numbers.max())
    # Written so that a value that is not a number is refused too.
    if not (low >= 0 and high <= _MAX_VALUE):
        raise _refusal(
            f"'data' holds pixels from 0 to {_MAX_VALUE}, and these are from {low:g} to {high:g}; "
            f"the network itself subtracts and scales",
            "inputs[0]",
        )
    if high <= 1:
        raise _refusal(
            f"'data' holds pixels from 0 to {_MAX_VALUE}, and the largest of these is {high:g}: "
            f"were they scaled to 1 before?",
            "inputs[0]",
        )


def _files(request: oip.ModelInferRequest, count: int) -> list[bytes]:
    """Return the values of an input of BYTES."""
    raw = _raw(request)
    files = (
        list(_split(raw)) if raw is not None else list(request.inputs[0].contents.bytes_contents)
    )
    if len(files) != count:
        raise _refusal(
            f"the shape stands for {count} images, there are {len(files)}", "inputs[0].contents"
        )
    return files


def _split(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        if start > len(raw):
            raise _cut()
        end = start + _LENGTH.unpack_from(raw, position)[0]
        if end > len(raw):
            raise _cut()
        yield raw[start:end]
        position = end


def _cut() -> Refusal:
    return _refusal(
        "an element of BYTES is its length, as four bytes little-endian, and then as many bytes; "
        "these end before",
        "raw_input_contents[0]",
    )


def _refusal(message: str, field: str) -> Refusal:
    return Refusal(pb.ERROR_REASON_TENSOR, message, field)
