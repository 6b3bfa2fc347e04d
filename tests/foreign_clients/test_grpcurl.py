"""The example for the shell: grpcurl, which knows the server by reflection alone."""

import json
import re
from pathlib import Path

import pytest
from endpoints import EXAMPLES, Endpoint, cosine, output, run

from face_embedding_client import Embedding
from support import MOBILE

SCRIPT = ["sh", str(EXAMPLES / "shell" / "tour.sh")]


def options(endpoint: Endpoint) -> list[str]:
    """The options of grpcurl."""
    if not endpoint.ca:
        return ["-plaintext"]
    options = ["-cacert", str(endpoint.ca)]
    if endpoint.certificate:
        options += ["-cert", str(endpoint.certificate), "-key", str(endpoint.key)]
    if endpoint.token:
        options += ["-expand-headers", "-H", "authorization: Bearer ${TOKEN}"]
    return options


def test_tour(endpoint: Endpoint, files: list[Path], expected: list[Embedding]) -> None:
    """It lists, describes, asks for health and model, and embeds a face."""
    command = [*SCRIPT, endpoint.address, files[0], *options(endpoint)]
    parts = re.split(r"^# (\S+)\n", output(command, TOKEN=endpoint.token), flags=re.MULTILINE)
    answers = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert {"face_embedding.v1.FaceEmbeddingService", "inference.GRPCInferenceService"} <= set(
        answers["list"].split()
    )
    assert "rpc EmbedStream ( stream " in answers["describe"]
    info, embedded, ready, metadata = (
        json.loads(answers[method])
        for method in (
            "face_embedding.v1.FaceEmbeddingService/GetModelInfo",
            "face_embedding.v1.FaceEmbeddingService/Embed",
            "inference.GRPCInferenceService/ServerReady",
            "inference.GRPCInferenceService/ModelMetadata",
        )
    )
    assert json.loads(answers["grpc.health.v1.Health/Check"]) == {"status": "SERVING"}
    assert info["name"] == metadata["name"] == MOBILE
    assert info["embedding_space"] == expected[0].space
    assert cosine(embedded["results"][0]["embedding"]["values"], expected[0]) >= 0.999999
    assert ready == {"ready": True}
    assert metadata["versions"] == [info["model_version"]]


@pytest.mark.parametrize(
    ("given", "code"), [([], "Unauthenticated"), (["-H", "authorization: Bearer x"], "Unauth")]
)
def test_credentials(token: Endpoint, given: list[str], code: str) -> None:
    """Without its token, or with a wrong one, it is told so."""
    method = "face_embedding.v1.FaceEmbeddingService/GetModelInfo"
    stranger = Endpoint(token.address, token.ca)
    result = run(["grpcurl", *options(stranger), *given, token.address, method])
    assert result.returncode != 0
    assert code in result.stderr
