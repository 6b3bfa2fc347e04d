"""The command `embed`, and how commands get the embeddings of files."""

import argparse
import functools
import itertools
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, TypeAlias

from face_embedding_client._errors import FaceEmbeddingError, InvalidRequestError
from face_embedding_client._sync import FaceEmbeddingClient
from face_embedding_client._types import AlignedFace, Embedding, Face, Photograph
from face_embedding_client.cli import inputs, kept, output, stored
from face_embedding_client.cli.archive import Named, named
from face_embedding_client.cli.kept import Answers, Identity, Kept
from face_embedding_client.cli.output import Failure
from face_embedding_client.cli.reading import read_image
from face_embedding_client.cli.reporting import Report
from face_embedding_client.cli.usage import UsageError

# Enough to keep a server of several processes busy that finds faces, and little for one to queue.
_PHOTOGRAPHS_AT_ONCE = 8

# A numbered file, what it is known by and what it holds.
_Read: TypeAlias = tuple[int, Identity, bytes]
# A numbered file, what it is known by if that is news, and what became of it.
_Answered: TypeAlias = tuple[int, Identity | None, Answers]


def embed(client: FaceEmbeddingClient, options: argparse.Namespace) -> int:
    """Embed files; print the embeddings, or write them to a file."""
    files = inputs.files_of(options)
    if options.output:
        return _embed_to_file(client, files, options)
    if options.resume:
        raise UsageError("--resume goes on with an --output")
    counts = _embed(client, files, options, None)
    return int(counts[False] > 0)


def _embed_to_file(
    client: FaceEmbeddingClient, files: Sequence[Path], options: argparse.Namespace
) -> int:
    stored.check_output(options.output)
    info = client.model_info()
    flags = ("detect", "select", "upright", "check_alignment")
    terms = {"space": info.embedding_space, **{flag: getattr(options, flag) for flag in flags}}
    if options.detect:
        # Another one finds another face, or one where there was none.
        terms["detector"] = info.detector
    with Kept(options.output, terms, resume=options.resume) as results:
        counts = _embed(client, files, options, results)

        def outcomes() -> Iterator[tuple[Path, Answers]]:
            return ((file, results.answers(number)) for number, file in enumerate(files))

        stored.write(options.output, outcomes, info, several=options.select == "all")
        results.remove()
    done, failed = counts[True], counts[False]
    print(f"{done} of {done + failed} embeddings in {options.output}", file=sys.stderr)
    return int(failed > 0)


def _embed(
    client: FaceEmbeddingClient,
    files: Sequence[Path],
    options: argparse.Namespace,
    results: Kept | None,
) -> Counter[bool]:
    """Embed files and print what becomes of them; return how many faces are embedded, or not."""
    counts: Counter[bool] = Counter()
    row, show = functools.partial(_row, options), functools.partial(_print, options)
    where = f"{results.path}: go on with --resume" if results else ""
    with Report(files, row, show, as_json=options.json, kept=where) as report:
        for number, answers in _answered(client, files, options, results):
            report.add(number, named(files[number], answers, several=options.select == "all"))
            counts.update(isinstance(answer, Embedding) for answer in answers)
    return counts


def embed_files(
    client: FaceEmbeddingClient, files: Sequence[Path], options: argparse.Namespace
) -> list[Named]:
    """Embed one face of each file, and return what became of the files, in their order.

    Raises:
        UsageError: if they are of several embedding spaces, as the server got another model.
    """
    answers = dict(_answered(client, files, options, None))
    embeddings = [each[0] for each in answers.values() if isinstance(each[0], Embedding)]
    if len(spaces := {each.space for each in embeddings}) > 1:
        raise UsageError(
            f"the server got another model meanwhile: embeddings of {' and '.join(sorted(spaces))} "
            "cannot be compared"
        )
    return [(str(file), answers[number][0]) for number, file in enumerate(files)]


def _answered(
    client: FaceEmbeddingClient,
    files: Sequence[Path],
    options: argparse.Namespace,
    results: Kept | None,
) -> Iterator[tuple[int, Answers]]:
    """Yield the numbers of files, as they are answered, with what became of them."""
    ready: deque[_Answered] = deque()
    unanswered = _unanswered(files, results, ready, client.model_info().max_encoded_bytes)
    answered = (
        _embed_all_faces(client, unanswered, options)
        if options.select == "all"
        else _embed_one_face(client, unanswered, options)
    )
    with output.progress_bar(len(files), "file") as bar:
        # Behind the last answer there may be files that needed none.
        for news in itertools.chain(answered, [None]):
            ready.extend([news] if news else [])
            while ready:
                number, file, answers = ready.popleft()
                if results and file:
                    results.add(number, file, answers)
                yield number, answers
                bar.update()


def _unanswered(
    files: Sequence[Path], results: Kept | None, ready: deque[_Answered], most_bytes: int
) -> Iterator[_Read]:
    """Read files; yield those that are to be embedded, and put into `ready` what is known."""
    for number, file in enumerate(files):
        try:
            data = read_image(file, lambda: most_bytes)
        except (OSError, InvalidRequestError) as error:
            ready.append((number, Identity(str(file)), [error]))
            continue
        if not results:
            yield number, Identity(str(file)), data
            continue
        identity = kept.identity(file, data)
        answers = results.recall(number, identity)
        if answers is None:
            yield number, identity, data
        else:
            ready.append((number, None, answers))


def _embed_one_face(
    client: FaceEmbeddingClient, files: Iterator[_Read], options: argparse.Namespace
) -> Iterator[_Answered]:
    """Embed one face of each file."""
    known: dict[str, Identity] = {}

    def faces() -> Iterator[tuple[str, Face]]:
        for number, identity, data in files:
            known[str(number)] = identity
            yield str(number), _face(data, options)

    for number, outcome in client.embed_stream(faces()):
        yield int(number), known.pop(number), [outcome]


def _embed_all_faces(
    client: FaceEmbeddingClient, files: Iterator[_Read], options: argparse.Namespace
) -> Iterator[_Answered]:
    """Embed all faces of each file, several files at a time."""

    def embedded(number: int, identity: Identity, data: bytes) -> _Answered:
        try:
            faces = client.embed_faces(data, upright=options.upright or "auto", outlast=True)
        except FaceEmbeddingError as error:
            return number, identity, [output.of_one_file(error)]
        return number, identity, [*faces, *([output.FacesMissing(faces)] if faces.missing else [])]

    pool = futures.ThreadPoolExecutor(_PHOTOGRAPHS_AT_ONCE)
    running: set[futures.Future[_Answered]] = set()
    try:
        for read in files:
            running.add(pool.submit(embedded, *read))
            if len(running) == _PHOTOGRAPHS_AT_ONCE:
                done, running = futures.wait(running, return_when=futures.FIRST_COMPLETED)
                yield from _results(done)
        yield from _results(futures.as_completed(running))
    finally:
        # If the command ends early its connections are closed, and calls under way with them.
        pool.shutdown(wait=False, cancel_futures=True)


def _results(done: Iterable["futures.Future[_Answered]"]) -> Iterator[_Answered]:
    """Yield what was answered, before an error that ends the command is raised."""
    failed = None
    for future in done:
        if future.exception():
            failed = future
        else:
            yield future.result()
    if failed:
        failed.result()


def side_of(
    client: FaceEmbeddingClient, file: Path, options: argparse.Namespace
) -> Face | Embedding:
    """Read a file as what `--detect` and the flags beside it say that it is, or an embedding.

    Raises:
        OSError: if it cannot be read.
        InvalidRequestError: if it is larger than the server takes.
        UsageError: if it has no such embedding.
    """
    if stored.names_embedding(str(file)):
        return stored.read(str(file))
    data = read_image(file, lambda: client.model_info().max_encoded_bytes)
    return _face(data, options)


def _face(data: bytes, options: argparse.Namespace) -> Face:
    if not options.detect:
        return AlignedFace(data, check_alignment=options.check_alignment)
    return Photograph(data, select=options.select or "only", upright=options.upright or "auto")


def _row(options: argparse.Namespace, name: str, outcome: Embedding | Failure) -> dict[str, Any]:
    if not isinstance(outcome, Embedding):
        return output.failure_row(name, outcome)
    row = {
        "name": name,
        "norm": outcome.norm,
        "space": outcome.space,
        "model_version": outcome.model_version,
        "precision": outcome.precision,
    }
    row |= output.preparation_row(outcome)
    row["faces_found"] = outcome.faces_found
    return row if options.output else row | {"values": outcome.values.tolist()}


def _print(options: argparse.Namespace, name: str, outcome: Embedding | Failure) -> None:
    if not isinstance(outcome, Embedding):
        output.print_failure(name, outcome)
        return
    parts = [f"{output.on_a_line(name)}: norm {outcome.norm:.3f}"]
    if not options.output:
        parts += [f"{value:+.4f}" for value in outcome.values[:4]] + ["…"]
    if outcome.detection:
        turned = output.turned_words(outcome.detection)
        parts.append(f"face {output.box_words(outcome.detection)}{turned}")
    print(" ".join(parts))
    output.print_warnings(name, outcome.warnings)
