"""What the page computes by itself, held against the server's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Page

from face_embedding_client import FaceEmbeddingClient
from face_embedding_server.faces.alignment import TEMPLATE, similarity_transform

METRICS = """\
# HELP face_embedding_queue_depth Faces waiting for a thread or for their turn
face_embedding_queue_depth{{process="0"}} 2.0
face_embedding_queue_depth{{process="1"}} 1.0
face_embedding_faces_embedded_total{{model="one"}} {embedded}
face_embedding_faces_embedded_total{{model="other"}} 1e+02
face_embedding_request_duration_seconds_bucket{{le="0.1",method="face_embedding.v1.FaceEmbeddingService/Embed"}} {fast}
face_embedding_request_duration_seconds_bucket{{le="0.2",method="face_embedding.v1.FaceEmbeddingService/Embed"}} {slow}
face_embedding_request_duration_seconds_bucket{{le="+Inf",method="face_embedding.v1.FaceEmbeddingService/Embed"}} {slow}
face_embedding_request_duration_seconds_bucket{{le="+Inf",method="face_embedding.v1.FaceEmbeddingService/Detect"}} 9.0
"""  # noqa: E501  # As Prometheus' client writes it.


def call(page: Page, module: str, function: str, *arguments: object) -> Any:
    """Call a function of one of the page's modules."""
    script = "return (await import(`./${args[0]}.js`))[args[1]](...args[2]);"
    return page.run(script, module, function, list(arguments))


def test_transform(page: Page) -> None:
    """Landmarks are brought to the template by the server's transform, however they lie."""
    template = page.run("return (await import('./alignment.js')).TEMPLATE;")
    assert template == TEMPLATE.tolist()
    generator = np.random.default_rng(0)
    for landmarks in generator.uniform(0, 500, (20, 5, 2)):
        a, b, x, y = call(page, "alignment", "similarityTransform", landmarks.tolist(), template)
        expected = similarity_transform(landmarks, TEMPLATE)
        assert np.allclose([[a, -b, x], [b, a, y]], expected, atol=1e-9)


def test_similarity(page: Page, asked: FaceEmbeddingClient, people: list[Path]) -> None:
    """The similarity of two embeddings is that of Compare, and there is none across spaces."""
    first, second = (asked.embed_faces(file.read_bytes())[0] for file in people[:2])
    sides = [{"space": each.space, "values": each.values.tolist()} for each in (first, second)]
    expected = asked.compare(first, second).cosine_similarity
    assert call(page, "similarity", "similarity", *sides) == pytest.approx(expected, abs=1e-6)
    sides[1]["space"] = "another"
    assert call(page, "similarity", "similarity", *sides) is None


@pytest.mark.parametrize(
    ("similarity", "decision"),
    [(0.39, "NO_MATCH"), (0.4, "UNDECIDED"), (0.59, "UNDECIDED"), (0.6, "MATCH")],
)
def test_decision(page: Page, similarity: float, decision: str) -> None:
    """A similarity in a threshold's interval is undecided; the upper end is not in it."""
    point = {"threshold": 0.5, "threshold_low": 0.4, "threshold_high": 0.6}
    assert call(page, "similarity", "decide", similarity, point) == decision


def test_drift(page: Page) -> None:
    """How far a precision is from f32 is said in the server's figures."""
    drift = {"faces": 9, "min_cosine": 0.99912, "pairs": 36, "max_score_change": 0.0123}
    info = {"precision": "bf16", "drift": drift | {"flipped_decisions": 1}}
    assert call(page, "words", "driftText", info) == (
        "cosine to f32 at least 0.9991 over 9 faces; similarities move by 0.0123 at most; "
        "1 of 36 decisions differ"
    )


def test_figures(page: Page) -> None:
    """Live figures are of the time between two scrapes, of all processes and models."""
    earlier, later = (
        call(page, "metrics", "parse", METRICS.format(embedded=embedded, fast=fast, slow=slow))
        for embedded, fast, slow in ((5, 1, 1), (25, 2, 5))
    )
    figures = call(page, "metrics", "figures", earlier, later, 2)
    # Of four calls, one took up to 0.1 s and three up to 0.2 s.
    expected = {"facesPerSecond": 10, "queue": 3, "median": 0.1 + 0.1 / 3, "slow": 0.1 + 0.28 / 3}
    assert figures == pytest.approx(expected)


def test_outdated_faces(page: Page, people: list[Path]) -> None:
    """Faces of a model that was replaced since say so, and can be asked for again."""
    page.add(people[0])
    assert not page.text(".outdated")
    script = """
        const { Photograph } = await import('./photograph.js');
        const photograph = new Photograph(new File([], 'old.jpg'), {});
        const embedding = { space: 'old', norm: 1 };
        photograph.faces = [
            { photograph, embedding, box: {}, landmarks: [], warnings: [], score: 1 },
        ];
        photograph.draw('new');
        const said = [...photograph.element.querySelectorAll('.outdated, .again')];
        return said.map(({ hidden }) => hidden);
    """
    assert page.run(script) == [False, False]
