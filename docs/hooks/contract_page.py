"""Renders a contract as Markdown.

Everything on the page comes from the .proto file: what a name means is said there once. Each name
has an anchor, and a name in backticks within a comment becomes a link to it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contract_file import (
    ENTRIES,
    ERROR_PREFIX,
    ERRORS,
    FIELDS,
    ONEOFS,
    SERVICES,
    CommentPath,
    Message,
    comments_of,
    enums_of,
    messages_of,
    names_of,
    oneofs_of,
)
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

_NAME = re.compile(r"`([\w.]+)`")
_REASON = re.compile(r"(?<![`#\w])[A-Z]+(?:_[A-Z]+)*(?![`\w])")

Comments = Mapping[CommentPath, str]


@dataclass(frozen=True)
class Links:
    """Where names lead.

    Args:
        names: links by name: `Limits`, `Limits.max_encoded_bytes`, `DECISION_MATCH`, `Embed`.
        reasons: links by the reason of an error: `IMAGE_SIZE`.
    """

    names: Mapping[str, str]
    reasons: Mapping[str, str]

    def comment(self, text: str, scope: str = "") -> str:
        """Return a comment whose names are links; those of fields in `scope` may stand alone."""

        def name(match: re.Match[str]) -> str:
            found = match[1]
            scoped = self.names.get(f"{scope}.{found}") if scope else None
            link = scoped or self.names.get(found) or self.reasons.get(found)
            return f"[`{found}`]({link})" if link else match[0]

        def reason(match: re.Match[str]) -> str:
            link = self.reasons.get(match[0])
            return f"[{match[0]}]({link})" if link else match[0]

        return _REASON.sub(reason, _NAME.sub(name, text))


def links_of(files: Mapping[str, FileDescriptorProto]) -> dict[str, Links]:
    """Return the links of each page: its own names, and those of other pages in full.

    Args:
        files: the contract of each page, by the page's path.
    """
    links = {}
    for current in files:
        names, reasons = {}, {}
        for page, file in files.items():
            before = "" if page == current else page
            for name in names_of(file):
                names[f"{file.package}.{name}"] = f"{before}#{name}"
                if name.startswith(ERROR_PREFIX):
                    reasons[name.removeprefix(ERROR_PREFIX)] = f"{before}#{name}"
        names |= {name: f"#{name}" for name in names_of(files[current])}
        links[current] = Links(names, reasons)
    return links


def render(file: FileDescriptorProto, links: Links) -> str:
    """Return a contract as Markdown: services, errors, messages, enumerations."""
    comments = comments_of(file)
    errors = [each for each in enums_of(file) if each[1].name == ERRORS]
    others = [each for each in enums_of(file) if each[1].name != ERRORS]
    lines: list[str] = []
    for index, service in enumerate(file.service):
        lines += _service(service, (SERVICES, index), comments, links)
    for path, enum in errors:
        lines += _errors(enum, path, comments, links)
    lines += ["## Messages", ""]
    for message in messages_of(file):
        lines += _message(message, comments, links)
    if others:
        lines += ["## Enumerations", ""]
    for path, enum in others:
        lines += _enum(enum, path, comments, links)
    return "\n".join(lines)


def _service(
    service: ServiceDescriptorProto, path: CommentPath, comments: Comments, links: Links
) -> Iterator[str]:
    yield from (f"## {service.name} {{ #{service.name} }}", "")
    yield from (links.comment(comments.get(path, "")), "")
    for index, method in enumerate(service.method):
        request = _type_link(method.input_type, links)
        response = _type_link(method.output_type, links)
        yield from (f"### {method.name} {{ #{method.name} }}", "")
        yield (
            f"{'a stream of ' * method.client_streaming}{request} → "
            f"{'a stream of ' * method.server_streaming}{response}{_route(method)}"
        )
        comment = comments.get((*path, ENTRIES, index), "")
        yield from ("", links.comment(comment), "")


def _route(method: MethodDescriptorProto) -> str:
    """Return where a method is over HTTP, if it is."""
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f"; over HTTP `{verb.upper()} {getattr(rule, verb)}`" if verb else ""


def _errors(
    enum: EnumDescriptorProto, path: CommentPath, comments: Comments, links: Links
) -> Iterator[str]:
    yield from (f"## Errors {{ #{enum.name} }}", "", links.comment(comments.get(path, "")), "")
    yield from _table_head("Reason", "gRPC code", "When")
    for index, value in enumerate(enum.value):
        code, meaning = _code(comments.get((*path, ENTRIES, index), ""))
        name = f"`{value.name.removeprefix(ERROR_PREFIX)}`{{ #{value.name} }}"
        yield _row(name, f"`{code}`" if code else "", links.comment(meaning))
    yield ""


def _code(comment: str) -> tuple[str, str]:
    """Return the gRPC code that the comment of an error begins with, and the rest."""
    match = re.match(r"([A-Z_]+): (.)(.*)", comment, re.DOTALL)
    return (match[1], match[2].upper() + match[3]) if match else ("", comment)


def _message(message: Message, comments: Comments, links: Links) -> Iterator[str]:
    yield from (f"### {message.name} {{ #{message.name} }}", "")
    yield from (links.comment(comments.get(message.path, ""), message.name), "")
    if not message.descriptor.field:
        yield from ("It has no fields.", "")
        return
    yield from _table_head("Field", "Type", "Meaning")
    oneofs = oneofs_of(message.descriptor)
    shown: set[str] = set()
    for index, field in enumerate(message.descriptor.field):
        chosen = field.HasField("oneof_index") and not field.proto3_optional
        choice = oneofs[field.oneof_index] if chosen else ""
        if choice and choice not in shown:
            shown.add(choice)
            comment = comments.get((*message.path, ONEOFS, field.oneof_index), "")
            name = f"`{choice}`{{ #{message.name}.{choice} }}"
            yield _row(name, "one of those below", links.comment(comment, message.name))
        comment = comments.get((*message.path, FIELDS, index), "")
        yield _row(
            f"{'↳ ' * bool(choice)}`{field.name}`{{ #{message.name}.{field.name} }}",
            _type(message.descriptor, field, links),
            links.comment(comment, message.name),
        )
    yield ""


def _enum(
    enum: EnumDescriptorProto, path: CommentPath, comments: Comments, links: Links
) -> Iterator[str]:
    yield from (f"### {enum.name} {{ #{enum.name} }}", "", links.comment(comments.get(path, "")))
    yield from ("", *_table_head("Value", "Number", "Meaning"))
    for index, value in enumerate(enum.value):
        meaning = links.comment(comments.get((*path, ENTRIES, index), ""))
        yield _row(f"`{value.name}`{{ #{value.name} }}", str(value.number), meaning)
    yield ""


def _type(message: DescriptorProto, field: FieldDescriptorProto, links: Links) -> str:
    if field.type in (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM):
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{nested.name}"):
                key, value = (_type(nested, entry, links) for entry in nested.field)
                return f"map of {key} to {value}"
        name = _type_link(field.type_name, links)
    else:
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _type_link(full_name: str, links: Links) -> str:
    """Return a type's name, which is a link if the type is on one of the pages."""
    name = full_name.removeprefix(".")
    link = links.names.get(name)
    return f"[{link.partition('#')[2]}]({link})" if link else f"`{name}`"


def _table_head(*names: str) -> Sequence[str]:
    return _row(*names), _row(*("---" for _ in names))


def _row(*cells: str) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("\n\n", "<br>").split()).replace("|", "\\|")
