"""Callers that may only decide learn whether two faces match, and no similarity."""

import hashlib
import math
from collections.abc import Iterator

import grpc
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import Calibration, OperatingPoint
from support import MOBILE, info_of, running_server, small_settings, status_of

POINT = OperatingPoint("fmr-1e-3", 0.5, 0.4, 0.6, 0.001, 0.002, 0.03, 0.04)
PERMISSIONS = {
    "decides": ["decide"],
    "knows": ["compare"],
    "knows too": ["decide", "compare"],
}


@pytest.fixture(scope="module")
def stub(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    """A server with an operating point, and a caller for each of `PERMISSIONS`."""
    folder = tmp_path_factory.mktemp("deciding")
    calibration, access = folder / "calibration.json", folder / "access.toml"
    space = store.get(MOBILE).embedding_space
    operating_points.write(Calibration(space, 10, 1000, (POINT,)), calibration)
    access.write_text(
        "".join(
            f"['{name}']\npermissions = {permissions}\n"
            f'tokens = [{{ sha256 = "{hashlib.sha256(name.encode()).hexdigest()}" }}]\n'
            for name, permissions in PERMISSIONS.items()
        )
    )
    chosen = small_settings(
        store, calibration=calibration, access=access, allow_plaintext_tokens=True
    )
    with running_server(chosen) as running, grpc.insecure_channel(running.address) as channel:
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


def compare(
    stub: pb_grpc.FaceEmbeddingServiceStub, caller: str, **criterion: object
) -> pb.CompareResponse:
    """Compare two vectors at right angles."""
    metadata = [("authorization", f"Bearer {caller}")]
    info = stub.GetModelInfo(pb.GetModelInfoRequest(), metadata=metadata, timeout=10)
    values = [[float(i == k) for i in range(info.embedding_size)] for k in (0, 1)]
    first, second = (
        pb.CompareSide(embedding=pb.Embedding(space=info.embedding_space, values=each))
        for each in values
    )
    request = pb.CompareRequest(first=first, second=second, **criterion)  # type: ignore[arg-type]  # one of them
    return stub.Compare(request, metadata=metadata, timeout=10)


def test_decision_alone(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Who may only decide is told the decision, and no number for the similarity."""
    answer = compare(stub, "decides", operating_point="fmr-1e-3")
    assert answer.decision == pb.DECISION_NO_MATCH
    assert math.isnan(answer.cosine_similarity)


@pytest.mark.parametrize("criterion", [{}, {"threshold": 0.4}], ids=["none", "own threshold"])
def test_own_threshold(
    stub: pb_grpc.FaceEmbeddingServiceStub, criterion: dict[str, object]
) -> None:
    """They decide by the server's thresholds: by their own they would find the similarity."""
    with pytest.raises(grpc.RpcError) as caught:
        compare(stub, "decides", **criterion)
    assert info_of(status_of(caught.value)).reason == "PERMISSION"


@pytest.mark.parametrize("caller", ["knows", "knows too"])
def test_similarity(stub: pb_grpc.FaceEmbeddingServiceStub, caller: str) -> None:
    """Who may compare is told the similarity."""
    assert compare(stub, caller, threshold=0.4).cosine_similarity == 0
