"""The command `conformance`: whether a server keeps the contract."""

import argparse
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from face_embedding_client._errors import FaceEmbeddingError
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client.cli import output
from face_embedding_client.cli.usage import UsageError
from face_embedding_client.cli.writing import replaced
from face_embedding_client.conformance.checks import (
    FAILED,
    PASSED,
    SKIPPED,
    Result,
    Session,
    check_errors,
    check_faces,
)
from face_embedding_client.conformance.golden import GoldenError
from face_embedding_client.conformance.golden import load as load_golden
from face_embedding_client.conformance.invariants import check_invariants


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    command.add_argument(
        "--golden", type=Path, metavar="FILE", help="the golden file (default: the one shipped)"
    )
    command.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="instead of checking, write the golden file with this server's embeddings",
    )


def conformance(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    """Check a server against a golden file, or write one."""
    if options.write:
        output.check_output(options.write, ".json")
    try:
        golden = load_golden(options.golden)
    except GoldenError as error:
        raise UsageError(str(error)) from error
    session = Session(client, golden, options.model)
    if options.write:
        return _write(session, options.write)
    checks = itertools.chain(check_invariants(session), check_faces(session), check_errors(session))
    results = list(checks)
    if options.json:
        print(json.dumps(_row(session, results), indent=2))
    else:
        _print(session, results)
    return int(any(result.status == FAILED for result in results))


def _write(session: Session, file: Path) -> int:
    embeddings = {}
    for case, outcome in session.embeddings():
        if isinstance(outcome, FaceEmbeddingError):
            raise UsageError(f"the server refuses the face '{case.name}': {outcome}")
        embeddings[case.name] = outcome
    info = session.info
    text = session.golden.text(info.name, info.embedding_space, embeddings)
    with replaced(file) as written:
        written.write(text.encode())
    print(f"{len(embeddings)} embeddings of {info.embedding_space} in {file}")
    return 0


def _counts(results: Sequence[Result]) -> dict[str, int]:
    counts = Counter(result.status for result in results)
    return {status: counts[status] for status in (PASSED, FAILED, SKIPPED)}


def _row(session: Session, results: Sequence[Result]) -> dict[str, object]:
    info, golden = session.info, session.golden
    return {
        "model": info.name,
        "model_version": info.model_version,
        "backend": info.backend,
        "precision": info.precision,
        "embedding_space": info.embedding_space,
        "golden_space": golden.embedding_space,
        "golden_compared": session.same_space,
        **_counts(results),
        "results": [dataclasses.asdict(result) for result in results],
    }


def _print(session: Session, results: Sequence[Result]) -> None:
    info, golden = session.info, session.golden
    print(f"{info.embedding_space}, {info.backend} {info.precision}")
    width = max(len(result.name) for result in results)
    for result in results:
        mark = result.status.upper() if result.status == FAILED else result.status
        said = f"expected {result.expected}; got {result.got}"
        print(f"{mark:<8}{result.group:<10} {result.name:<{width}}  {said}")
    print(", ".join(f"{count} {status}" for status, count in _counts(results).items()))
    if not session.same_space:
        print(
            f"golden embeddings were not compared: they are of {golden.embedding_space}, "
            f"this server's of {info.embedding_space}"
        )
