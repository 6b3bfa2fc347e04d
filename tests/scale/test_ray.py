"""Embedding on a Ray cluster: no face is lost or there twice, whatever is killed meanwhile."""

import contextlib
import itertools
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_cluster import FOLDER, ROOT, TwoNodes, kill, program, two_nodes

from face_embedding_client import (
    FaceEmbeddingClient,
    InvalidRequestError,
    parquet,
)
from face_embedding_models.store import Store
from face_embedding_server.evaluation import embedding
from face_embedding_server.faces.face import Aligned, EncodedImage
from face_embedding_server.faces.face import Face as GivenFace
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.settings import Settings
from support import MOBILE, encode
from support.processes import free_port

sys.path.insert(0, str(FOLDER))
import embed

with warnings.catch_warnings():
    # Ray Serve's own.
    warnings.simplefilter("ignore", DeprecationWarning)
    import serve

pytestmark = pytest.mark.alone

FACES = 3000
GROUP = 50


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, faces: list[Face]) -> Path:
    """Parquet files with many faces, each with a name of its own."""
    folder = tmp_path_factory.mktemp("many")
    images = [encode(face) for face in faces]
    for number in range(2):
        names = [f"face-{number}-{each}" for each in range(FACES // 2)]
        data = [images[each % len(images)] for each in range(FACES // 2)]
        table = pa.table({"name": names, "image": data})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=GROUP)
    return folder


@pytest.fixture
def folder(tmp_path: Path, faces: list[Face]) -> Path:
    """A folder with faces, and with a file that has none."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for number, face in enumerate(faces):
        (folder / "more" / f"{number}.png").write_bytes(encode(face))
    (folder / "broken.jpg").write_bytes(b"this is none")
    return folder


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("_job/pending/*/part-*")]


def watch(job: "subprocess.Popen[str]", log: Path, reached: Callable[[], bool]) -> None:
    """Wait for what a program that runs has to reach."""
    while not reached():
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended with {job.wait(0.05)}:\n{log.read_text()}")


def test_serve(
    cluster: TwoNodes, faces: list[Face], store: Store, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Ray Serve answers our client as the server does, and has a replica more under load."""
    began = time.monotonic()
    port, log = free_port(), tmp_path / "log"
    of_model = ("--model", MOBILE, "--store", str(store.root), "--cpus", "1", "--in-flight", "2")
    arguments = (*of_model, "--port", str(port), "--address", cluster.address)
    images = [encode(face) for face in faces]
    serving = program("serve.py", *arguments, log=log)
    watch(serving, log, lambda: "serving " in log.read_text())
    with (
        embedding.in_process(Settings(model=MOBILE, store=store.root)) as embedder,
        FaceEmbeddingClient(f"127.0.0.1:{port}", timeout_s=60) as client,
        ThreadPoolExecutor(8) as callers,
    ):
        assert client.is_serving()
        assert client.model_info().embedding_space == store.get(MOBILE).embedding_space
        embedded = client.embed(images[0])
        expected = embedder.embed(GivenFace(EncodedImage(images[0]), Aligned()))
        assert np.allclose(embedded.values, expected / embedded.norm, atol=1e-5)
        assert client.compare(images[0], embedded).cosine_similarity > 0.9999
        assert not client.detect(images[0]).faces[1:]
        with pytest.raises(InvalidRequestError) as refused:
            client.embed(b"no image")
        assert (refused.value.reason, refused.value.field) == (
            "IMAGE_UNREADABLE",
            "faces[0].encoded",
        )
        items = zip("0123456", [*images, b"no image"], strict=True)
        streamed = dict(client.embed_stream(items))
        assert np.array_equal(streamed["0"].values, embedded.values)
        assert isinstance(streamed["6"], InvalidRequestError)
        assert len(streamed) == 7
        # One that leaves a stream holds nobody up.
        endless = client.embed_stream((str(number), images[0]) for number in itertools.count())
        next(endless)
        endless.close()
        with FaceEmbeddingClient(f"127.0.0.1:{port}", round_robin=True) as balanced:
            assert np.array_equal(balanced.embed(images[0]).values, embedded.values)
        assert cluster.replicas() == 1
        calls = 0

        def another_replica() -> bool:
            nonlocal calls
            calls += len(list(callers.map(client.embed, images * 10)))
            return cluster.replicas() == 2

        watch(serving, log, another_replica)
    serving.send_signal(signal.SIGINT)
    assert serving.wait() == serve.EXIT_INTERRUPTED
    tell(
        f"Ray Serve: failed calls 0 of {calls}, 1 replica became 2 under load; "
        f"{time.monotonic() - began:.0f} s"
    )


def test_taken_port(cluster: TwoNodes, store: Store, tmp_path: Path) -> None:
    """A port that is taken ends the program with what was wrong, in a line of its own."""
    with socket.create_server(("", 0)) as taken:
        port, log = str(taken.getsockname()[1]), tmp_path / "log"
        of_model = ("--model", MOBILE, "--store", str(store.root), "--cpus", "1")
        arguments = (*of_model, "--port", port, "--address", cluster.address)
        assert program("serve.py", *arguments, log=log).wait(300) == serve.EXIT_ERROR
    (line,) = re.findall("^serve.py: error: .*", log.read_text(), re.MULTILINE)
    assert f"Ray Serve cannot start: RuntimeError: Failed to bind to address [::]:{port}" in line


def test_killed(
    cluster: TwoNodes, many: Path, store: Store, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Each face has one row, though a worker, the job itself and a node are killed meanwhile."""
    began = time.monotonic()
    output, log = tmp_path / "faces", tmp_path / "log"
    given = (str(many), str(output), "--image-column", "image", "--name-column", "name")
    of_model = ("--model", MOBILE, "--store", str(store.root))
    arguments = (*given, *of_model, "--cpus", "1", "--address", cluster.address)

    def second_is_busy() -> bool:
        """Tell whether the second node's worker is in the middle of a block."""
        worker = cluster.worker()
        return worker is not None and any(f".{worker}." in name for name in unfinished(output))

    job = program("embed.py", *arguments, log=log)
    watch(job, log, second_is_busy)
    kill(cluster.worker() or 0)
    at_kill = len(parts(output))
    watch(job, log, lambda: len(parts(output)) >= at_kill + 3)
    job.kill()
    job.wait()
    kept = {path: path.stat().st_ino for path in parts(output)}

    job = program("embed.py", *arguments, log=log)
    watch(job, log, lambda: len(parts(output)) >= len(kept) + 3 and second_is_busy())
    cluster.kill_second()
    at_kill = len(parts(output))
    assert job.wait() == 0, log.read_text()

    rows = pq.read_table(output, columns=["file", "face"]).to_pylist()
    found = Counter((row["file"], row["face"]) for row in rows)
    named = pq.read_table(many, columns=["name"])["name"].to_pylist()
    lost = len({(name, 0) for name in named} - found.keys())
    doubled = sum(found.values()) - len(found)
    again = sum(path.stat().st_ino != inode for path, inode in kept.items())
    tell(
        f"Ray: rows lost {lost}, rows doubled {doubled}, parts made again {again}; a worker was "
        f"killed, the job at {len(kept)} of {FACES // GROUP} parts and a node at {at_kill}; "
        f"{time.monotonic() - began:.0f} s"
    )
    assert (len(rows), lost, doubled, again) == (FACES, 0, 0, 0)
    assert len(kept) < at_kill < FACES // GROUP


def test_folder(cluster: TwoNodes, folder: Path, store: Store, tmp_path: Path) -> None:
    """A row has the server's embedding of a face, or why an image has none; that ends with 1."""
    output, log = tmp_path / "embeddings", tmp_path / "log"
    of_model = ("--model", MOBILE, "--store", str(store.root))
    arguments = (folder.as_uri(), output.as_uri(), *of_model, "--cpus", "1", "--block", "4")
    job = program("embed.py", *arguments, "--address", cluster.address, log=log)
    assert job.wait() == embed.EXIT_NO, log.read_text()
    assert f"{folder}/broken.jpg: the image is not a JPEG" in log.read_text()
    assert "6 of 7 embeddings" in log.read_text()

    rows = {row["file"]: row for row in pq.read_table(output).to_pylist()}
    errors = {name: row["error_reason"] for name, row in rows.items() if row["error_reason"]}
    assert errors == {f"{folder}/broken.jpg": "IMAGE_UNREADABLE"}
    with embedding.in_process(Settings(model=MOBILE, store=store.root)) as embedder:
        for number in range(6):
            file = folder / "more" / f"{number}.png"
            expected = embedder.embed(GivenFace(EncodedImage(file.read_bytes()), Aligned()))
            row = rows[str(file)]
            assert np.allclose(row["embedding"], expected / row["norm"], atol=1e-5)
    stored = parquet.StoredEmbeddings(parts(output)[0])
    assert stored.space == store.get(MOBILE).embedding_space

    # All of it is there: no cluster is needed, and none is at that address.
    again = program("embed.py", *arguments, "--address", "127.0.0.1:1", log=log)
    assert again.wait() == embed.EXIT_NO, log.read_text()
    assert "2 of 2 parts are there already" in log.read_text()


@pytest.mark.parametrize("program", [embed, serve])
def test_documented(program: ModuleType) -> None:
    """The commands on the page about Ray are understood."""
    page = (ROOT / "docs" / "ray.md").read_text("utf-8")
    commands = re.findall(rf"^python deploy/ray/{program.__name__}.py (.*)$", page, re.MULTILINE)
    assert commands
    for command in commands:
        assert program.parser().parse_args(shlex.split(command)).model == MOBILE
