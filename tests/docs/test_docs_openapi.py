"""What is made of the contract for HTTP is current: the OpenAPI document, and what Envoy reads."""

from docs_pages import DOCS, ROOT, openapi_file
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from face_embedding.v1 import face_embedding_pb2 as pb


def test_document() -> None:
    """The committed document is that of the contract."""
    assert (DOCS / "openapi.yaml").read_text("utf-8") == openapi_file.render()


def test_descriptor_set() -> None:
    """Envoy reads the contract as the stubs have it, and knows the details of errors."""
    file = ROOT / "deploy" / "envoy" / "contract.binpb"
    files = {each.name: each for each in FileDescriptorSet.FromString(file.read_bytes()).file}
    contract = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(contract)
    found = files[pb.DESCRIPTOR.name]
    # protoc writes down the names that JSON has by default, and the stubs do not have them.
    for message in found.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert found == contract
    details = {each.name for each in files["google/rpc/error_details.proto"].message_type}
    assert {"ErrorInfo", "RetryInfo"} <= details
