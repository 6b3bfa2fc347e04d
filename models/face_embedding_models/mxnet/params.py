"""MXNet's `.params` files: named arrays, read and written without MXNet.

A file is a list of arrays followed by a list of names, `arg:NAME` for parameters and `aux:NAME`
for auxiliary states, all little-endian:

    u64 0x112, u64 0, u64 count, count × array, u64 count, count × (u64 length, UTF-8 name)

    array, current form:  u32 0xF993FAC9, i32 storage type, shape, context, i32 dtype, data
    array, version 1:     u32 0xF993FAC8, shape, context, i32 dtype, data
    array, oldest form:   u32 ndim, ndim × u32, context, i32 dtype, data

where a shape is `u32 ndim, ndim × i64` and a context `i32 device type, i32 device id`.

Source: `src/ndarray/ndarray.cc` of Apache MXNet 1.9.1 (NDArray::Save, Load and LegacyLoad).
"""

import math
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from face_embedding_models import bounds
from face_embedding_models.errors import CheckpointError

_LIST_MAGIC = 0x112
_ARRAY_V1 = 0xF993FAC8
_ARRAY_V2 = 0xF993FAC9
_ARRAY_V3 = 0xF993FACA  # As version 2, with NumPy's meaning of empty shapes.
_DENSE = 0
_CPU_CONTEXT = (1, 0)
_MAX_DIMENSIONS = 32

# mshadow's type flags.
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}
_FLAGS = {np.dtype(name): flag for flag, name in _DTYPES.items()}


def parse(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of a `.params` file by name, prefixes `arg:` and `aux:` included.

    The arrays are read-only views of `data`.

    Raises:
        CheckpointError: if the file is damaged, cut short, or holds a kind of array that
            checkpoints do not have.
    """
    reader = _Reader(data)
    magic, _, count = reader.unpack("<QQQ", "header")
    if magic != _LIST_MAGIC:
        raise CheckpointError("not an MXNet .params file: its first bytes are wrong")
    if count > bounds.MAX_ARRAYS:
        raise CheckpointError(
            f"the .params file has {count:,} arrays, at most {bounds.MAX_ARRAYS:,} are read"
        )
    arrays = [reader.array(number) for number in range(count)]
    if (values := sum(array.size for array in arrays)) > bounds.MAX_VALUES:
        raise CheckpointError(
            f"the .params file has {values:,} values, at most {bounds.MAX_VALUES:,} are read"
        )
    (names,) = reader.unpack("<Q", "number of names")
    if names != count:
        raise CheckpointError(f"the .params file has {count} arrays but {names} names")
    result: dict[str, NDArray[np.generic]] = {}
    for array in arrays:
        name = reader.name()
        if name in result:
            raise CheckpointError(f"the .params file has two arrays called '{name:.100}'")
        result[name] = array
    reader.expect_end()
    return result


def dump(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Write arrays by name in the current form; the same arrays always give the same bytes.

    Raises:
        CheckpointError: for a dtype that the format does not have.
    """
    parts = [struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))]
    for name, array in arrays.items():
        flag = _FLAGS.get(array.dtype)
        if flag is None:
            raise CheckpointError(f"array '{name}' has dtype {array.dtype}, which .params lacks")
        parts.append(struct.pack("<IiI", _ARRAY_V2, _DENSE, array.ndim))
        parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
        parts.append(struct.pack("<iii", *_CPU_CONTEXT, flag))
        parts.append(np.ascontiguousarray(array).tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        encoded = name.encode()
        parts.append(struct.pack("<Q", len(encoded)) + encoded)
    return b"".join(parts)


class _Reader:
    """A cursor over a file that never reads, nor allocates, beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._position = 0

    def take(self, size: int, what: str) -> memoryview:
        end = self._position + size
        if end > len(self._data):
            raise CheckpointError(
                f"the .params file is cut short: {what} needs bytes "
                f"{self._position} to {end}, the file has {len(self._data)}"
            )
        part = self._data[self._position : end]
        self._position = end
        return part

    def unpack(self, form: str, what: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form), what))

    def array(self, number: int) -> NDArray[np.generic]:
        what = f"array {number}"
        (magic,) = self.unpack("<I", what)
        if magic in (_ARRAY_V2, _ARRAY_V3):
            (storage,) = self.unpack("<i", what)
            if storage != _DENSE:
                raise CheckpointError(f"{what} of the .params file is sparse; only dense ones fit")
        if magic in (_ARRAY_V1, _ARRAY_V2, _ARRAY_V3):
            (dimensions,) = self.unpack("<I", what)
            letter = "q"
        else:
            dimensions, letter = magic, "I"
        if not 0 < dimensions <= _MAX_DIMENSIONS:
            raise CheckpointError(f"{what} of the .params file has {dimensions} dimensions")
        shape = self.unpack(f"<{dimensions}{letter}", what)
        if min(shape) < 0:
            raise CheckpointError(f"{what} of the .params file has the shape {shape}")
        _, _, flag = self.unpack("<iii", what)
        if flag not in _DTYPES:
            raise CheckpointError(f"{what} of the .params file has the unknown type {flag}")
        dtype = np.dtype(_DTYPES[flag])
        data = self.take(math.prod(shape) * dtype.itemsize, f"{what} of shape {shape}")
        try:
            return np.frombuffer(data, dtype).reshape(shape)
        except ValueError as error:  # One side is 0 and the others too large for NumPy.
            raise CheckpointError(f"{what} of the .params file has the shape {shape}") from error

    def name(self) -> str:
        (length,) = self.unpack("<Q", "a name")
        try:
            return bytes(self.take(length, "a name")).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"a name in the .params file is not UTF-8: {error}") from error

    def expect_end(self) -> None:
        rest = len(self._data) - self._position
        if rest:
            raise CheckpointError(f"the .params file has {rest} bytes after its end")
