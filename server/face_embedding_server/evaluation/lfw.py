"""Reading the pairs of faces that InsightFace distributes, such as `lfw.bin`.

Such a file is a pickle of a pair: a list of 2 * n encoded images, and a list of n booleans that
tell whether images 2 * i and 2 * i + 1 show one person. A pickle is a program, and a file from the
internet may hold any. So this one is checked before it runs: it may build lists, tuples, bytes,
text and numbers, and call a single function, which is this module's.
"""

import io
import pickle
import pickletools
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

# Up to protocol 2 Python 3 has no other way to write bytes.
_ENCODE = ("_codecs", "encode")

# Bytes are written by Python 2 as what pickletools calls strings, by Python 3 as bytes.
_DATA = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_DATA |= {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "NEWTRUE", "NEWFALSE"}
_DATA |= {"INT", "BININT", "BININT1", "BININT2", "NONE"}
_CONTAINERS = {"EMPTY_LIST", "APPEND", "APPENDS", "LIST"}
_CONTAINERS |= {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_STORES = {"PUT", "BINPUT", "LONG_BINPUT"}
_MACHINE = {"PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "REDUCE"}
_ALLOWED = _DATA | _CONTAINERS | _STORES | _MACHINE | {"GLOBAL"}

# What the standard library raises on damaged pickles, by its source.
_DAMAGE = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    # Where warnings are errors, text with an unknown escape.
    Warning,
)


class LfwFileError(Exception):
    """A file of pairs is unsafe, damaged, or something else; the message says what is wrong."""


@dataclass(frozen=True)
class LabelledImages:
    """Encoded images in pairs.

    Args:
        images: `[2 * pairs]`, the files' bytes; pair i is images 2 * i and 2 * i + 1.
        same: `[pairs]`, whether a pair shows one person.
    """

    images: list[bytes]
    same: NDArray[np.bool_]


def read_pairs_bin(data: bytes) -> LabelledImages:
    """Read the content of a file of pairs.

    Pickles of Python 3 are read, and those of Python 2 but for its protocol 0, which pickletools
    cannot check; InsightFace's scripts write the highest. The images are not decoded. What
    follows the pickle is ignored.

    Raises:
        LfwFileError: if the pickle could do more than hold pairs, or does not hold them.
    """
    try:
        _check_program(data)
        content = _Reader(data).load()
    except _DAMAGE as error:
        # Some quote all of what they could not read.
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise LfwFileError(f"the file is no pickle, or a damaged one: {reason}") from error
    return _labelled(content)


class _Reader(pickle.Unpickler):
    """An unpickler that finds no code but the one function that makes bytes of text."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._remaining = len(data)

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) != _ENCODE:
            _refuse_code(f"{module}.{name}")
        return self._encode

    def _encode(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise LfwFileError("the file is damaged: it makes bytes of what is no latin1 text")
        # Text that is kept and made bytes of again and again would fill the memory.
        self._remaining -= len(text)
        if self._remaining < 0:
            raise LfwFileError("the file is unsafe: it makes more bytes than it holds")
        return text.encode("latin1")


def _check_program(data: bytes) -> None:
    """Refuse a pickle that holds more than data, or that needs memory far beyond its size.

    The walk also finds lengths that reach beyond the end, for which the unpickler would reserve
    memory.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name == "GLOBAL" and argument != " ".join(_ENCODE):
            _refuse_code(str(argument).replace(" ", "."))
        if opcode.name not in _ALLOWED:
            _refuse_code(f"the operation {opcode.name}")
        # What the unpickler reserves for stored objects reaches up to the largest number.
        if opcode.name in _STORES and int(argument or 0) > number:
            raise LfwFileError(
                f"the file is unsafe: it gives an object the number {argument} "
                f"after {number} operations"
            )


def _refuse_code(what: str) -> NoReturn:
    raise LfwFileError(
        f"the file asks for {what:.100}; only lists of bytes and booleans are read, "
        "nothing that runs code, and no NumPy arrays"
    )


def _labelled(content: object) -> LabelledImages:
    parts = _sequence(content, "the file")
    if len(parts) != 2:
        raise LfwFileError(f"the file holds {len(parts)} parts, not 2: the images and the labels")
    images, labels = _sequence(parts[0], "the first part"), _sequence(parts[1], "the second part")
    if not labels:
        raise LfwFileError("the file holds no pairs")
    if len(images) != 2 * len(labels):
        raise LfwFileError(
            f"the file holds {len(images)} images for {len(labels)} labels, not two for each"
        )
    for kind, name, items in ((bytes, "image", images), (bool, "label", labels)):
        for number, item in enumerate(items):
            if not isinstance(item, kind):
                raise LfwFileError(
                    f"{name} {number} is of type {type(item).__name__}, not {kind.__name__}"
                )
    return LabelledImages(list(images), np.array(labels, np.bool_))


def _sequence(value: object, name: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise LfwFileError(f"{name} is of type {type(value).__name__}, not a list")
    return value
