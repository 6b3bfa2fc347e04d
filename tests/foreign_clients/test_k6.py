"""The load test with k6, kept short."""

import json
from pathlib import Path

from endpoints import EXAMPLES, Endpoint, cosine, output, run

from face_embedding_client import Embedding

SCRIPT = EXAMPLES / "k6" / "embed.js"


def command(endpoint: Endpoint, face: Path, summary: Path) -> list[str]:
    variables = {
        "ADDRESS": endpoint.address,
        "FACE": face,
        "VUS": 2,
        "ITERATIONS": 20,
        "CA": endpoint.ca,
        "CERTIFICATE": endpoint.certificate,
        "KEY": endpoint.key,
    }
    given = [f"--env={name}={value}" for name, value in variables.items() if value]
    quiet = ["--quiet", "--no-usage-report", "--no-color", f"--summary-export={summary}"]
    return ["k6", "run", *quiet, *given, str(SCRIPT)]


def test_load(
    endpoint: Endpoint, files: list[Path], expected: list[Embedding], tmp_path: Path
) -> None:
    """Every call is answered with the embedding that our own client gets."""
    summary = tmp_path / "summary.json"
    output(command(endpoint, files[0], summary), TOKEN=endpoint.token)
    found = json.loads(summary.read_text())
    assert found["metrics"]["right_answers"]["count"] == 20
    assert found["metrics"]["checks"]["fails"] == 0
    assert cosine(found["setup_data"], expected[0]) >= 0.999999


def test_refusal(plaintext: Endpoint, unreadable: Path, tmp_path: Path) -> None:
    """It fails if the server refuses, and says why."""
    result = run(command(plaintext, unreadable, tmp_path / "summary.json"))
    assert result.returncode != 0
    assert "IMAGE_UNREADABLE" in result.stderr
