"""What embeds: an actor with the model in its process, which takes blocks one after another."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from face_embedding_client import parquet
from face_embedding_models.store import Store
from face_embedding_server.errors import OperatorError, Refusal
from face_embedding_server.faces import detectors
from face_embedding_server.faces.detectors import Detection, Running
from face_embedding_server.faces.face import (
    LANDMARKS,
    Detect,
    EncodedImage,
    Face,
    Preparation,
    Selection,
)
from face_embedding_server.inference import loading, threads
from face_embedding_server.inference.model import EmbeddedFace, ServedModel
from face_embedding_server.settings import Settings
from on_ray import cores
from on_ray.inputs import Inputs
from on_ray.outputs import Output

# Images that are waited for beside those in work, for each thread.
_AHEAD = 2

_log = logging.getLogger(__name__)


class ModelError(OperatorError):
    """A node has another model than the job began with; the message says which."""


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Args:
        settings: the model, and how it is run.
        inputs: where the images are.
        output: the folder of the results.
        run: the name of this run.
        preparation: what the images are.
        space: the embedding space that the model has to have.
        version: and its version.
        cpus: the processors of a worker.
    """

    settings: Settings
    inputs: Inputs
    output: str
    run: str
    preparation: Preparation
    space: str
    version: str
    cpus: int


class Worker:
    """Embeds blocks. Ray Data makes one for each actor, and calls it with a block's number."""

    def __init__(self, job: Job) -> None:
        cores.claim(job.cpus)
        self._job = job
        self._output = Output(job.output, job.run)
        self._list = self._output.inputs()
        self._model = _load(job)
        info = self._model.info
        self._schema = parquet.schema(
            info.space.size, space=info.space.id, model=info.name, model_version=info.model_version
        )
        # It has a request to the engine for each thread, so it stays.
        self._pool = ThreadPoolExecutor(threads.evaluated())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Embed the blocks of a batch but those that have a part; return what became of them."""
        done = [self._embed(int(number)) for number in batch["block"]]
        return {
            name: np.array([getattr(each, name) for each in done])
            for name in ("block", "faces", "failed")
        }

    def _embed(self, number: int) -> "Done":
        done = Done(number)
        if not self._output.has(number):
            rows = self._rows(self._list.block(number), done)
            self._output.write(number, rows, self._schema)
        return done

    def _rows(self, block: pa.Table, done: "Done") -> Iterator[dict[str, Any]]:
        """Yield the rows of a block, in order; few images are in memory at a time."""
        waiting: deque[Future[list[dict[str, Any]]]] = deque()
        for name, read in self._job.inputs.items(block):
            waiting.append(self._pool.submit(self._rows_of, name, read))
            if len(waiting) >= _AHEAD * threads.evaluated():
                yield from done.counted(waiting.popleft().result())
        for each in waiting:
            yield from done.counted(each.result())

    def _rows_of(self, name: str, read: Callable[[], bytes]) -> list[dict[str, Any]]:
        """Return the rows of an image: its faces, or why there are none."""
        try:
            found = self._model.embed(Face(EncodedImage(read()), self._job.preparation))
        except OSError as error:
            return [_failure(name, "FILE_UNREADABLE", f"cannot be read: {error}")]
        except Refusal as refusal:
            return [_failure(name, refusal.reason.name, refusal.message)]
        except Exception as error:
            _log.exception("%s could not be embedded", name)
            return [_failure(name, "INTERNAL", f"could not be embedded: {error!r}")]
        rows = [self._row(name, number, face) for number, face in enumerate(found)]
        several = self._job.preparation
        if isinstance(several, Detect) and several.selection is Selection.ALL:
            missing = found[0].faces_found - len(found)
            if missing:
                words = (
                    f"{len(found)} faces were embedded, {missing} more were found and are missing: "
                    f"raise FACE_EMBEDDING_MAX_FACES_PER_REQUEST, or crop it into parts"
                )
                rows.append(_failure(name, "FACES_MISSING", words))
        return rows

    def _row(self, name: str, number: int, face: EmbeddedFace) -> dict[str, Any]:
        return {
            "file": name,
            "face": number,
            "embedding": face.raw / np.float32(face.norm),
            "norm": face.norm,
            "model_version": self._model.version,
            "precision": self._model.info.precision,
            "faces_found": face.faces_found,
            "warnings": [
                {"reason": each.reason.name, "value": each.value, "limit": each.limit}
                for each in face.warnings
            ],
            "detection": _detection(face.detection) if face.detection else None,
        }


def _failure(name: str, reason: str, message: str) -> dict[str, Any]:
    return {"file": name, "error_reason": reason, "error_message": message}


def _detection(found: Detection) -> dict[str, Any]:
    points = zip(LANDMARKS, found.landmarks.tolist(), strict=True)
    return {
        "box": asdict(found.box),
        "landmarks": {name: {"x": x, "y": y} for name, (x, y) in points},
        "score": found.score,
        "turned_degrees": found.turned_degrees,
    }


@dataclass
class Done:
    """What became of a block: how many images have rows now, and how many faces and failures.

    Nothing where the block had its part already.
    """

    block: int
    faces: int = 0
    failed: int = 0

    def counted(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Count the rows of an image, and return them."""
        failed = sum("error_reason" in row for row in rows)
        self.failed += failed
        self.faces += len(rows) - failed
        return rows


def _load(job: Job) -> ServedModel:
    settings = job.settings
    store = Store(settings.store)
    stored = store.get(settings.model)
    if (stored.embedding_space, stored.version) != (job.space, job.version):
        raise ModelError(
            f"the store {settings.store} of node {ray.util.get_node_ip_address()} has "
            f"{settings.model} at version {stored.version} in the space {stored.embedding_space}, "
            f"and the job began with {job.version} in {job.space}: give all nodes the same store"
        )
    running = Running(settings.detector_precision, threads.available_cpus())
    detector = detectors.load(settings.detector, settings.detector_model, store, running)
    return loading.load(stored, settings, detector, None)
