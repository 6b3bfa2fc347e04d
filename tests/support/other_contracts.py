"""The contract as other versions have it: the first one, and one that is later than this."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message
from google.rpc import status_pb2

from face_embedding.v1 import face_embedding_pb2 as pb

# What the first version had of the messages that have grown since: their last field.
_LAST_FIELDS = {
    "Face": 3,
    "EmbedResult": 2,
    "EmbedResponse": 1,
    "EmbedStreamResponse": 2,
    "CompareRequest": 4,
    "CompareResponse": 4,
    "Limits": 4,
    "GetModelInfoResponse": 15,
}
# Of each message, and the number of a value of each enumeration.
_LATER_FIELD = "later"
_LATER_NUMBER = 900
LATER_VALUE = 99


def first() -> Mapping[str, type[Message]]:
    """Return the messages of the first version, by their names."""
    file = _contract()
    for message in file.message_type:
        last = _LAST_FIELDS.get(message.name)
        if last is not None:
            _keep(message, [field for field in message.field if field.number <= last])
    return _classes(file)


def later() -> Mapping[str, type[Message]]:
    """Return the messages of a later version: each has a field more."""
    file = _contract()
    for message in file.message_type:
        message.field.add(
            name=_LATER_FIELD,
            number=_LATER_NUMBER,
            type=FieldDescriptorProto.TYPE_STRING,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
    return _classes(file)


def fill(message: Any) -> None:
    """Fill the field that is more in a message of a later version, and in all that is in it."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.file.name == pb.DESCRIPTOR.name:
            for each in value if hasattr(value, "add") else [value]:
                fill(each)
    setattr(message, _LATER_FIELD, "of a later version")


def _contract() -> FileDescriptorProto:
    file = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    return file


def _keep(message: DescriptorProto, fields: Iterable[FieldDescriptorProto]) -> None:
    kept = [FieldDescriptorProto.FromString(field.SerializeToString()) for field in fields]
    used = sorted({field.oneof_index for field in kept if field.HasField("oneof_index")})
    names = [message.oneof_decl[index].name for index in used]
    for field in kept:
        if field.HasField("oneof_index"):
            field.oneof_index = used.index(field.oneof_index)
    del message.field[:], message.oneof_decl[:]
    message.field.extend(kept)
    for name in names:
        message.oneof_decl.add(name=name)


def _classes(file: FileDescriptorProto) -> Mapping[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, status_pb2, descriptor_pb2, http_pb2, annotations_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    made = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: kind for name, kind in made.items()}
