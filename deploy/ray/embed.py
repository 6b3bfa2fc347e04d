"""Embeds a folder of images, or the images in Parquet files, on a Ray cluster.

    python deploy/ray/embed.py INPUT OUTPUT --model NAME

INPUT and OUTPUT are paths, or URIs such as s3://bucket/folder, that every node reaches. The model's
store has to be on every node. The same command goes on after whatever ended it, and does only what
is missing.

Exit status: 0 for success, 1 if something has no embedding, 2 for an error, 130 if interrupted.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

# Before Ray is imported: it would send its makers what it is used for.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray.data
from on_ray import cluster
from on_ray.cluster import ClusterError
from on_ray.inputs import Inputs
from on_ray.outputs import Output
from on_ray.worker import Job, Worker

from face_embedding_models.errors import ModelError
from face_embedding_models.store import Store
from face_embedding_server.errors import OperatorError
from face_embedding_server.faces.face import Aligned, Detect, Preparation, Selection

EXIT_NO, EXIT_ERROR, EXIT_INTERRUPTED = 1, 2, 130
_SHOWN_FAILURES = 20
# Blocks that fail before all are given up, as on a full disk.
_MOST_FAILED = 10
# What Ray keeps count of; more blocks than these share a task.
_MOST_TASKS = 10_000
_TELL_S = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    known = parser()
    options = known.parse_args(arguments)
    for name in ("select", "upright"):
        if getattr(options, name) and not options.detect:
            known.error(f"--{name} needs --detect")
    if options.name_column and not options.image_column:
        known.error("--name-column needs --image-column")
    try:
        return _run(options)
    except (OperatorError, ModelError) as error:
        print(f"{known.prog}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"{known.prog}: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return what knows the options."""
    known = argparse.ArgumentParser("embed.py", description=__doc__.splitlines()[0])
    known.add_argument("input", help="a folder of images, or with --image-column of Parquet files")
    known.add_argument("output", help="a folder for the results")
    known.add_argument("--image-column", default="", help="of Parquet files: has the images")
    known.add_argument(
        "--name-column", default="", help="of Parquet files: names the images; default: FILE#ROW"
    )
    known.add_argument(
        "--detect", action="store_true", help="the images are photographs, and not aligned faces"
    )
    known.add_argument(
        "--select",
        choices=[each.name.lower() for each in Selection],
        help="which faces of a photograph (default with --detect: only)",
    )
    known.add_argument(
        "--upright",
        choices=("auto", "as_is"),
        help="whether photographs are turned that are sideways (default with --detect: auto)",
    )
    known.add_argument(
        "--block",
        type=cluster.positive,
        default=512,
        help="the images of a result's file (default: 512)",
    )
    cluster.add_options(known)
    return known


def _run(options: argparse.Namespace) -> int:
    job = _job(options)
    output = Output(options.output, job.run)
    terms = {"space": job.space, "version": job.version, "precision": job.settings.precision}
    terms |= {name: getattr(options, name) for name in _TERMS}
    if options.detect:
        terms |= {name: str(getattr(job.settings, name)) for name in _DETECTOR_TERMS}
    listed = output.begin(job.inputs, terms)
    missing = output.missing(listed.blocks)
    if len(missing) < listed.blocks:
        done = listed.blocks - len(missing)
        print(f"{done} of {listed.blocks} parts are there already", file=sys.stderr)
    if missing:
        workers = cluster.connect(options)
        _embed(job, output, missing, workers)
    counts = output.counts()
    output.tidy()
    for failed in output.failures(_SHOWN_FAILURES):
        print(f"{failed['file']}: {failed['error_message']}", file=sys.stderr)
    if counts.failed > _SHOWN_FAILURES:
        more = counts.failed - _SHOWN_FAILURES
        print(f"and {more:,} more: the rows with an error_reason", file=sys.stderr)
    embedded = counts.rows - counts.failed
    print(f"{embedded:,} of {counts.rows:,} embeddings in {options.output}", file=sys.stderr)
    return EXIT_NO if counts.failed else 0


# Beside the model, what decides on a row.
_TERMS = ("block", "image_column", "name_column", "detect", "select", "upright")
_DETECTOR_TERMS = ("detector", "detector_precision", "detector_model")


def _job(options: argparse.Namespace) -> Job:
    chosen = cluster.settings_of(options)
    for name in ("input", "output"):
        given = getattr(options, name)
        if "://" not in given:
            # A worker has another working directory. Links stay as they are.
            setattr(options, name, os.path.abspath(given))  # noqa: PTH100
    stored = Store(chosen.store).get(chosen.model)
    inputs = Inputs(
        options.input,
        options.block,
        options.image_column,
        options.name_column,
        chosen.max_encoded_bytes,
    )
    preparation: Preparation = Aligned()
    if options.detect:
        selection = Selection[(options.select or "only").upper()]
        preparation = Detect(selection, upright=options.upright != "as_is")
    return Job(
        chosen,
        inputs,
        options.output,
        secrets.token_hex(4),
        preparation,
        stored.embedding_space,
        stored.version,
        options.cpus,
    )


def _embed(job: Job, output: Output, missing: Sequence[int], workers: int) -> None:
    """Have the missing blocks embedded, and tell how it goes.

    Raises:
        ClusterError: if some are still missing after that.
    """
    faces = failed = 0
    began = told = time.monotonic()
    for parts, done in enumerate(_embedded(job, missing, workers), 1):
        faces += done["faces"]
        failed += done["failed"]
        now = time.monotonic()
        if now > told + _TELL_S or parts == len(missing):
            told = now
            print(
                f"{parts} of {len(missing)} parts, {faces:,} faces, "
                f"{faces / (now - began):.1f} faces/s, {failed:,} failed",
                file=sys.stderr,
            )
    lost = [number for number in missing if not output.has(number)]
    if lost:
        raise ClusterError(
            f"{len(lost)} parts are missing, the first of them {lost[0]}, for what stands above; "
            f"the same command tries them again"
        )


def _embedded(job: Job, missing: Sequence[int], workers: int) -> Iterator[dict[str, Any]]:
    """Yield what became of each block, as it is done."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # One that cannot be done must not take the others with it.
    context.max_errored_blocks = _MOST_FAILED
    blocks = ray.data.from_items(
        [{"block": number} for number in missing],
        override_num_blocks=min(len(missing), _MOST_TASKS),
    )
    done = blocks.map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=1,
        num_cpus=job.cpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
    )
    try:
        yield from done.iter_rows()
    except ray.exceptions.RayError as error:
        # It is a trace, which stands above; its last line says what it was.
        raise ClusterError(f"a worker failed: {str(error).splitlines()[-1]}") from error


if __name__ == "__main__":
    sys.exit(main())
