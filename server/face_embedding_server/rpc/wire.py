"""How many parts a message has, told from its bytes before any of it is parsed.

A part of two bytes takes up to 88 when it is parsed: 16 MiB of empty tensors are 740 MB, and hold
the interpreter for a third of a second. So the parts of a large message are counted first, and no
further than the limit, which takes 15 ms at most. Within it a message takes seven times its bytes
at most, as typed values of UINT8 do, and most take no more than they are.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.limits import MAX_FACES_PER_REQUEST

# Smaller messages are not looked at: they take 3 MB at most.
FREE_BYTES = 64 << 10
# A face has 20 at most.
MAX_PARTS = 1 << 15
_FACES = "faces"

_VARINT, _FIXED64, _DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_FIXED_BYTES = {_FIXED64: 8, _START_GROUP: 0, _END_GROUP: 0, _FIXED32: 4}
_KIND_BITS = 3
_PAYLOAD_BITS = 7
_MORE = 1 << _PAYLOAD_BITS
_ALL_BUT_LAST = bytes(range(_MORE, 2 * _MORE))
_LONGEST_VARINT = 10
# Of what comes after the first byte of a number.
_SHIFTS = range(_PAYLOAD_BITS, _LONGEST_VARINT * _PAYLOAD_BITS, _PAYLOAD_BITS)
# Of one byte each in a list, or more, and of eight when they are parsed.
_LONGS = {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64}


def check(kind: type[Message], data: bytes) -> None:
    """Refuse a message that has too many parts to be parsed.

    A part is a field at any depth, and a number of a list of 64-bit ones. What is no message is
    left to the parser, which comes no further than this.

    Raises:
        Refusal: if there are too many.
    """
    if len(data) <= FREE_BYTES:
        return
    form, left = _form_of(kind.DESCRIPTOR), MAX_PARTS
    seen: dict[str, int] = {}
    try:
        for number, start, end in _fields(data, 0, len(data)):
            field = form.get(number, _UNKNOWN)
            index = seen[field.name] = seen.get(field.name, -1) + 1
            if field.name == _FACES and index == MAX_FACES_PER_REQUEST:
                raise Refusal(
                    Reason.TOO_MANY_FACES,
                    f"more than {index:,} faces in one request, which no server takes; send "
                    f"several requests or use EmbedStream",
                    _FACES,
                )
            left = _count(data, field, start, end, left - 1)
            if left < 0:
                raise Refusal(
                    Reason.MALFORMED,
                    f"the message has more than {MAX_PARTS:,} parts, which no request needs; are "
                    f"its lists of numbers packed?",
                    field.name,
                )
    except IndexError:
        return


@dataclass(frozen=True)
class _Field:
    """What is to be known of a field.

    Args:
        name: its name; empty for one that the contract does not have.
        is_long: whether it is of 64-bit numbers.
        form: its own fields, by their numbers; none if it is no message.
    """

    name: str = ""
    is_long: bool = False
    form: "dict[int, _Field] | None" = None


_UNKNOWN = _Field()


@functools.cache
def _form_of(descriptor: Descriptor) -> dict[int, _Field]:
    """Return the fields of a message, by their numbers; in no contract here one holds itself."""
    return {
        field.number: _Field(
            field.name,
            field.type in _LONGS,
            _form_of(field.message_type) if field.message_type else None,
        )
        for field in descriptor.fields
    }


def _count(data: bytes, field: _Field, start: int, end: int, left: int) -> int:
    """Return how many parts are left after those in a field; below 0 if it has more."""
    if field.is_long:
        enough = data[start : min(end, start + _LONGEST_VARINT * (left + 1))]
        return left - len(enough.translate(None, _ALL_BUT_LAST))
    if field.form is None:
        return left
    try:
        for number, begin, stop in _fields(data, start, end):
            left = _count(data, field.form.get(number, _UNKNOWN), begin, stop, left - 1)
            if left < 0:
                break
    except IndexError:
        pass  # Within a group, which is unknown to the contract, it can be anything.
    return left


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, and where the content begins and ends, of each field of a message.

    Raises:
        IndexError: if there is no message, or it ends within a field.
    """
    while position < end:
        tag, position = _varint(data, position)
        kind = tag & ((1 << _KIND_BITS) - 1)
        if kind == _VARINT:
            size = _varint(data, position)[1] - position
        elif kind == _DELIMITED:
            size, position = _varint(data, position)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise IndexError
        if position + size > end:
            raise IndexError
        yield tag >> _KIND_BITS, position, position + size
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it.

    Raises:
        IndexError: if there is none, or it has more bytes than any number.
    """
    value = data[position]
    position += 1
    if value < _MORE:
        return value, position
    value -= _MORE
    for shift in _SHIFTS:
        byte = data[position]
        value |= (byte & (_MORE - 1)) << shift
        position += 1
        if byte < _MORE:
            return value, position
    raise IndexError
