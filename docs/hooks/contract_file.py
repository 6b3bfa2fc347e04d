"""Reads a contract: a .proto file, with its comments, and what is in it."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc_tools  # type: ignore[import-untyped]  # It ships no types.
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

ERRORS = "ErrorReason"
ERROR_PREFIX = "ERROR_REASON_"

# A comment's path is made of field numbers of descriptor.proto and of indices.
CommentPath = tuple[int, ...]
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED_MESSAGES, NESTED_ENUMS, ONEOFS = 2, 3, 4, 8
# The methods of a service, and the values of an enumeration.
ENTRIES = 2


class ContractError(Exception):
    """A contract cannot be read; the message says which."""


@dataclass(frozen=True)
class Message:
    """A message, with the name that it has on the page and the path of its comment."""

    name: str
    path: CommentPath
    descriptor: DescriptorProto


def describe(proto: str, include: Iterable[Path]) -> FileDescriptorProto:
    """Return the description of a .proto file, with its comments.

    Args:
        proto: the path of the file below one of the folders in `include`.
        include: the folders with the file and with those that it imports.

    Raises:
        ContractError: if protoc refuses it.
    """
    own = Path(grpc_tools.__path__[0]) / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "contract.binpb"
        arguments = [
            *(f"-I{path}" for path in (*include, own)),
            "--include_source_info",
            f"--descriptor_set_out={output}",
            proto,
        ]
        if protoc.main(["protoc", *arguments]) != 0:
            raise ContractError(f"protoc refuses {proto}")
        return FileDescriptorSet.FromString(output.read_bytes()).file[0]


def comments_of(file: FileDescriptorProto) -> Mapping[CommentPath, str]:
    """Return the comments as Markdown, by path."""
    return {
        tuple(location.path): _text(location.leading_comments)
        for location in file.source_code_info.location
    }


def names_of(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the names of everything in a contract, each of which is an anchor on its page."""
    for service in file.service:
        yield service.name
        yield from (method.name for method in service.method)
    for message in messages_of(file):
        yield message.name
        yield from (f"{message.name}.{field.name}" for field in message.descriptor.field)
        yield from (f"{message.name}.{oneof}" for oneof in oneofs_of(message.descriptor))
    for _, enum in enums_of(file):
        yield enum.name
        yield from (value.name for value in enum.value)


def messages_of(file: FileDescriptorProto) -> Iterator[Message]:
    """Yield all messages, nested ones after the one that they are in."""
    for index, descriptor in enumerate(file.message_type):
        yield from _with_nested(Message(descriptor.name, (MESSAGES, index), descriptor))


def enums_of(file: FileDescriptorProto) -> Iterator[tuple[CommentPath, EnumDescriptorProto]]:
    """Yield all enumerations with the paths of their comments."""
    for index, enum in enumerate(file.enum_type):
        yield (ENUMS, index), enum
    for message in messages_of(file):
        for index, enum in enumerate(message.descriptor.enum_type):
            yield (*message.path, NESTED_ENUMS, index), enum


def oneofs_of(message: DescriptorProto) -> list[str]:
    """Return the names of the oneofs that were written, and not made for an optional field."""
    made = {field.oneof_index for field in message.field if field.proto3_optional}
    return [oneof.name for index, oneof in enumerate(message.oneof_decl) if index not in made]


def _with_nested(message: Message) -> Iterator[Message]:
    yield message
    for index, nested in enumerate(message.descriptor.nested_type):
        if not nested.options.map_entry:
            path = (*message.path, NESTED_MESSAGES, index)
            yield from _with_nested(Message(f"{message.name}.{nested.name}", path, nested))


def _text(comment: str) -> str:
    """Return a comment as Markdown: unindented, with a blank line before its first bullet."""
    lines = [line.removeprefix(" ").rstrip() for line in comment.rstrip().split("\n")]
    return re.sub(r"(?m)^(?!\* )(\S.*)\n(?=\* )", r"\1\n\n", "\n".join(lines))
