"""Writes what the contract offers over HTTP as an OpenAPI document: `openapi_file.py FILE`.

By a script of its own, since the generators that are kept are programs in Go, which nothing else
here needs. The document is that of https://spec.openapis.org/oas/v3.1.0, and the JSON in it that of
https://protobuf.dev/programming-guides/json/, with the names of the contract.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import contract_file
import pages
import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    OneofDescriptor,
)
from google.rpc import status_pb2

from face_embedding.v1 import face_embedding_pb2 as pb

PROTO = pages.CONTRACTS["contract.md"]
# How the comment of a field, or of alternatives, begins that a request has to have.
_REQUIRED = "Required:"
_ANY = "google.protobuf.Any"
_COMPONENTS = "#/components/schemas/"
_NUMBER = {"$ref": f"{_COMPONENTS}Number"}
_UNSIGNED_64 = {"type": "string", "pattern": "^[0-9]+$"}
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: _NUMBER,
    FieldDescriptor.TYPE_FLOAT: _NUMBER,
    FieldDescriptor.TYPE_INT32: {"type": "integer"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_UINT64: _UNSIGNED_64,
}
# What has no comment in the contract.
_OTHERS: dict[str, dict[str, Any]] = {
    "Number": {
        "description": "A number; what is none, or infinite, is a text.",
        "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
    },
    "Any": {
        "description": "A message of the type that it names.",
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
    },
}


def render() -> str:
    """Return the OpenAPI document as YAML."""
    return yaml.dump(_document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _document() -> dict[str, Any]:
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    comments = _comments()
    methods = [method for method in service.methods if _rule(method).WhichOneof("pattern")]
    paths: dict[str, Any] = {}
    for method in methods:
        verb, path = _route(method)
        paths.setdefault(path, {})[verb] = _operation(method, comments)
    asked = set(_messages(method.input_type for method in methods))
    told = set(_messages([status_pb2.Status.DESCRIPTOR, *(each.output_type for each in methods)]))
    schemas = {
        message.name: _message(message, comments, message in asked, message in told)
        for message in asked | told
        if message.full_name != _ANY and not _is_path_only(message, methods)
    }
    enums = {field.enum_type for message in asked | told for field in message.fields}
    schemas |= {enum.name: _values(enum, comments) for enum in enums if enum}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.full_name,
            "version": pb.DESCRIPTOR.package.rpartition(".")[2],
            "description": comments[service.name],
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        # With an access file, or without one.
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted((schemas | _OTHERS).items())),
        },
    }


def _rule(method: MethodDescriptor) -> Any:
    return method.GetOptions().Extensions[annotations_pb2.http]


def _route(method: MethodDescriptor) -> tuple[str, str]:
    rule = _rule(method)
    verb = rule.WhichOneof("pattern")
    return verb, getattr(rule, verb)


def _operation(method: MethodDescriptor, comments: dict[str, str]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": method.name,
        "description": comments[f"{method.containing_service.name}.{method.name}"],
    }
    if _rule(method).body:
        operation["requestBody"] = {"required": True, "content": _json(method.input_type)}
    else:
        operation["parameters"] = [
            {
                "name": field.name,
                "in": "path",
                "required": True,
                "description": comments[f"{method.input_type.name}.{field.name}"],
                "schema": _SCALARS[field.type],
            }
            for field in method.input_type.fields
        ]
    operation["responses"] = {
        "200": {"description": "The answer.", "content": _json(method.output_type)},
        "default": {
            "description": "Why there is none.",
            "content": _json(status_pb2.Status.DESCRIPTOR),
        },
    }
    return operation


def _json(message: Descriptor) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(message)}}


def _reference(named: Descriptor | EnumDescriptor) -> dict[str, Any]:
    return {"$ref": f"{_COMPONENTS}{named.name}"}


def _messages(roots: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """Yield messages, and those that are in them."""
    for message in roots:
        yield message
        yield from _messages(field.message_type for field in message.fields if field.message_type)


def _is_path_only(message: Descriptor, methods: list[MethodDescriptor]) -> bool:
    """Return whether a message is nowhere but in paths."""
    return any(method.input_type is message and not _rule(method).body for method in methods)


def _message(
    message: Descriptor, comments: dict[str, str], is_asked: bool, is_told: bool
) -> dict[str, Any]:
    """Return the schema of a message of requests, or of answers, or of both.

    Requests have nothing else, and what the contract requires. Answers can have more from a later
    server, and are complete, but for messages and alternatives.
    """
    schema: dict[str, Any] = {"type": "object"}
    if comment := comments.get(message.name, ""):
        schema["description"] = comment
    schema["properties"] = {field.name: _field(field, comments) for field in message.fields}
    if not is_told:
        schema["additionalProperties"] = False
        schema |= _required(message, comments)
    if not is_asked:
        schema["required"] = [
            field.name
            for field in message.fields
            if field.is_repeated or not (field.message_type or field.containing_oneof)
        ]
    return schema


def _required(message: Descriptor, comments: dict[str, str]) -> dict[str, Any]:
    """Return what a message has to have by its comments: fields, and one of alternatives each."""

    def required(each: FieldDescriptor | OneofDescriptor) -> bool:
        return comments.get(f"{message.name}.{each.name}", "").startswith(_REQUIRED)

    schema: dict[str, Any] = {}
    if names := [field.name for field in message.fields if required(field)]:
        schema["required"] = names
    if alternatives := [oneof for oneof in message.oneofs if required(oneof)]:
        schema["allOf"] = [
            {"oneOf": [{"required": [field.name]} for field in oneof.fields]}
            for oneof in alternatives
        ]
    return schema


def _field(field: FieldDescriptor, comments: dict[str, str]) -> dict[str, Any]:
    named = field.message_type or field.enum_type
    schema = _reference(named) if named else _SCALARS[field.type]
    if field.is_repeated:
        schema = {"type": "array", "items": schema}
    comment = comments.get(f"{field.containing_type.name}.{field.name}", "")
    oneof = field.containing_oneof
    if oneof and len(oneof.fields) > 1:
        others = ", ".join(f"`{each.name}`" for each in oneof.fields if each is not field)
        comment += f"\n\nInstead of {others}."
    return {"description": comment, **schema} if comment else dict(schema)


def _values(enum: EnumDescriptor, comments: dict[str, str]) -> dict[str, Any]:
    meanings = (f"* `{each.name}`: {comments[each.name]}" for each in enum.values)
    description = "\n".join([comments[enum.name], "", *meanings])
    return {
        "type": "string",
        "description": description,
        "enum": [each.name for each in enum.values],
    }


def _comments() -> dict[str, str]:
    """Return the comments by name, as `Face.raw`; those of values by the value's."""
    file = pages.describe(PROTO)
    texts = contract_file.comments_of(file)
    found = {}
    for index, service in enumerate(file.service):
        path = (contract_file.SERVICES, index)
        found[service.name] = texts[path]
        for number, method in enumerate(service.method):
            name = f"{service.name}.{method.name}"
            found[name] = texts[(*path, contract_file.ENTRIES, number)]
    for message in contract_file.messages_of(file):
        found[message.name] = texts[message.path]
        for number, field in enumerate(message.descriptor.field):
            name = f"{message.name}.{field.name}"
            found[name] = texts[(*message.path, contract_file.FIELDS, number)]
        for number, oneof in enumerate(message.descriptor.oneof_decl):
            name = f"{message.name}.{oneof.name}"
            found[name] = texts.get((*message.path, contract_file.ONEOFS, number), "")
    for path, enum in contract_file.enums_of(file):
        found[enum.name] = texts[path]
        for number, value in enumerate(enum.value):
            found[value.name] = texts[(*path, contract_file.ENTRIES, number)]
    return found


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and nothing as an alias."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> Any:
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), "utf-8")
