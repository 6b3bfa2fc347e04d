"""The contract's pages have everything that is in the contracts, and lead to it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_pages import contract_file, contract_page, pages
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

from face_embedding.open_inference import open_inference_pb2 as v2
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.rpc.status import code_of

PROTO = """
syntax = "proto3";
package small;
import "google/api/annotations.proto";
// Does `Do`; see `Thing.size`.
//
// Two lists:
// * one
// * two
service Doer {
  // Does a `Thing` or fails with BROKEN.
  rpc Do(stream Thing) returns (Thing);
  // Gets one.
  rpc Get(Thing) returns (Thing) {
    option (google.api.http) = {get: "/things/{name}"};
  }
}
// Why not.
enum ErrorReason {
  // Not used.
  ERROR_REASON_UNSPECIFIED = 0;
  // NOT_FOUND: it is
  // broken.
  ERROR_REASON_BROKEN = 1;
}
// A thing.
message Thing {
  // An inner one.
  message Inner {}
  // Which.
  oneof choice {
    // A | b.
    string name = 1;
    // Not `name`.
    Inner inner = 2;
  }
  // How large.
  optional int32 size = 3;
  // Others.
  map<string, Inner> others = 4;
  // Reasons.
  repeated ErrorReason reasons = 5;
}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small contract as a page."""
    folder = tmp_path_factory.mktemp("protos")
    (folder / "small.proto").write_text(PROTO)
    file = contract_file.describe("small.proto", [folder, pages.IMPORTED])
    return contract_page.render(file, contract_page.links_of({"small.md": file})["small.md"])


@pytest.mark.parametrize(
    "line",
    [
        "## Doer { #Doer }",
        "Does [`Do`](#Do); see [`Thing.size`](#Thing.size).",
        "Two lists:\n\n* one\n* two",
        "a stream of [Thing](#Thing) → [Thing](#Thing)\n",
        "\n[Thing](#Thing) → [Thing](#Thing); over HTTP `GET /things/{name}`\n",
        "Does a [`Thing`](#Thing) or fails with [BROKEN](#ERROR_REASON_BROKEN).",
        "| `BROKEN`{ #ERROR_REASON_BROKEN } | `NOT_FOUND` | It is broken. |",
        "### Thing.Inner { #Thing.Inner }\n\nAn inner one.\n\nIt has no fields.",
        "| `choice`{ #Thing.choice } | one of those below | Which. |",
        "| ↳ `name`{ #Thing.name } | string | A \\| b. |",
        "| ↳ `inner`{ #Thing.inner } | [Thing.Inner](#Thing.Inner) | Not [`name`](#Thing.name). |",
        "| `size`{ #Thing.size } | optional int32 | How large. |",
        "| `others`{ #Thing.others } | map of string to [Thing.Inner](#Thing.Inner) | Others. |",
        "| `reasons`{ #Thing.reasons } | repeated [ErrorReason](#ErrorReason) | Reasons. |",
    ],
)
def test_rendering(small: str, line: str) -> None:
    """Comments, types and links of each kind of thing come out as Markdown."""
    assert line in small


def test_bad_contract_is_refused(tmp_path: Path) -> None:
    """A contract that protoc does not take is an error."""
    (tmp_path / "bad.proto").write_text("message {")
    with pytest.raises(contract_file.ContractError):
        contract_file.describe("bad.proto", [tmp_path])


@pytest.mark.parametrize(
    ("page", "contract"), [("contract.md", pb.DESCRIPTOR), ("contract-v2.md", v2.DESCRIPTOR)]
)
def test_everything_is_there(page: str, contract: FileDescriptor) -> None:
    """Each message, field, value and method has its place, and a comment."""
    text = pages.contracts()[page]
    for anchor in names(contract):
        assert f"{{ #{anchor} }}" in text, anchor
    empty = [line for line in text.splitlines() if line.startswith("|") and line.endswith("|  |")]
    assert not empty


def test_error_codes() -> None:
    """The codes in the table of errors are those that the server answers."""
    rows = dict(re.findall(r"^\| `(\w+)`.*? \| `(\w+)` \|", pages.contracts()["contract.md"], re.M))
    values = pb.ErrorReason.DESCRIPTOR.values
    assert rows == {reason.name: code_of(Refusal(reason, "")).name for reason in Reason}
    known = {value.name.removeprefix("ERROR_REASON_") for value in values}
    assert known == {"UNSPECIFIED", *rows}


def names(contract: FileDescriptor) -> Iterator[str]:
    for service in contract.services_by_name.values():
        yield service.name
        yield from (method.name for method in service.methods)
    for message in contract.message_types_by_name.values():
        yield from names_in(message)
    for enum in contract.enum_types_by_name.values():
        yield from names_of_enum(enum)


def names_in(message: Descriptor) -> Iterator[str]:
    if message.GetOptions().map_entry:
        return
    name = message.full_name.removeprefix(f"{message.file.package}.")
    yield name
    yield from (f"{name}.{field.name}" for field in message.fields)
    for nested in message.nested_types:
        yield from names_in(nested)
    for enum in message.enum_types:
        yield from names_of_enum(enum)


def names_of_enum(enum: EnumDescriptor) -> Iterator[str]:
    yield enum.name
    yield from (value.name for value in enum.values)
