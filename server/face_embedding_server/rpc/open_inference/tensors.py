"""The values of tensors, in the two forms that the protocol has for them: typed and raw."""

import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding_server.errors import Reason, Refusal

_LENGTH = struct.Struct("<I")
_TYPED_FIELDS: dict[type, str] = {np.uint8: "uint_contents", np.float32: "fp32_contents"}
# Typed values are taken so many at a time, as they are Python's on their way, of 32 bytes each, and
# NumPy holds the interpreter for as long as it reads: 150 ms for 64 faces.
_STEP = 1 << 15

Number = TypeVar("Number", np.uint8, np.float32)


def numbers(
    request: oip.ModelInferRequest, kind: type[Number], shape: tuple[int, ...]
) -> NDArray[Number]:
    """Return the values of a request's only input, which are numbers, in their shape.

    Raises:
        Refusal: if there are not as many, or not of that type.
    """
    raw = _raw(request)
    typed: Any = getattr(request.inputs[0].contents, _TYPED_FIELDS[kind])
    where = "inputs[0].contents" if raw is None else "raw_input_contents[0]"
    given = len(typed) if raw is None else len(raw) / np.dtype(kind).itemsize
    if given != math.prod(shape):
        raise refusal(
            f"the shape {list(shape)} stands for {math.prod(shape):,} values of "
            f"{np.dtype(kind).name}, there are {given:,.10g}",
            where,
        )
    if raw is not None:
        values: NDArray[Number] = np.frombuffer(raw, kind).reshape(shape)
        return values
    taken = np.empty(len(typed), kind)
    for start in range(0, len(typed), _STEP):
        wide = np.array(typed[start : start + _STEP], np.float64)
        if kind is np.uint8 and wide.max() > np.iinfo(np.uint8).max:
            raise refusal(f"{wide.max():g} is no UINT8", where)
        taken[start : start + _STEP] = wide
    return taken.reshape(shape)


def files(request: oip.ModelInferRequest, count: int) -> list[bytes]:
    """Return the values of a request's only input, which are of type BYTES.

    Raises:
        Refusal: if there are not as many.
    """
    raw = _raw(request)
    given = request.inputs[0].contents.bytes_contents if raw is None else _split(raw)
    # One more than wanted is enough to know that there are too many.
    found = list(itertools.islice(given, count + 1))
    if len(found) != count:
        there = f"more than {count}" if len(found) > count else len(found)
        raise refusal(f"the shape stands for {count} images, there are {there}", "inputs[0]")
    return found


def add(
    response: oip.ModelInferResponse, name: str, values: NDArray[np.float32], *, raw: bool
) -> None:
    """Add an output to an answer."""
    output = response.outputs.add(name=name, datatype="FP32", shape=values.shape)
    if raw:
        response.raw_output_contents.append(values.astype("<f4").tobytes())
    else:
        output.contents.fp32_contents.extend(values.ravel().tolist())


def refusal(message: str, field: str) -> Refusal:
    """Return the refusal of a tensor."""
    return Refusal(Reason.TENSOR, message, field)


def _raw(request: oip.ModelInferRequest) -> bytes | None:
    """Return the raw values of the input, or None if they are typed."""
    if not request.raw_input_contents:
        return None
    if len(request.raw_input_contents) != 1 or request.inputs[0].HasField("contents"):
        raise refusal(
            "give the values once, in raw_input_contents or in contents", "raw_input_contents"
        )
    return request.raw_input_contents[0]


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
    return refusal(
        "an element of BYTES is its length, as four bytes little-endian, and then as many bytes; "
        "these end before",
        "raw_input_contents[0]",
    )
