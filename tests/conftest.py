"""Fixtures: the test data, stores with models, and a real server on a free port."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import grpc
import hypothesis
import numpy as np
import pytest

from face_embedding_client import FaceEmbeddingClient
from face_embedding_models import manifest
from face_embedding_models.installing import importing
from face_embedding_models.openvino import ir
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import (
    MOBILE,
    RESNET34,
    Golden,
    RunningServer,
    add_stand_in,
    running_server,
    small_settings,
)
from support.hosts import WEB_VARIABLES, Hosts, serving

DATA_VARIABLE = "FACE_EMBEDDING_TEST_DATA"

# A shell has what it starts in the background ignore Ctrl-C; what the tests start would do so too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples everywhere and always; a machine under load is no failure.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A command that runs in this process sets up the log, and writes where this test listens."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own: what it downloads never touches the user's."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache / "face-embedding" / "downloads"


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """The hosts of weights, all of them a web server of this machine's."""
    for name in WEB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as hosts:
        yield hosts


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with trained weights and photographs; where it is named it has to exist."""
    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        message = f"no test data in {folder}; name its folder with {DATA_VARIABLE}"
        if named:
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def golden(test_data: Path) -> Golden:
    """The reference embeddings of the trained MobileFaceNet."""
    with np.load(test_data / "faces" / "golden.npz") as archive:
        names, embeddings = [str(name) for name in archive["names"]], archive["fc1"]
    files = [test_data / "faces" / "aligned" / f"{name}.png" for name in names]
    return Golden(names, files, [cv2.imread(str(file)) for file in files], embeddings)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the MobileFaceNet stand-in, converted."""
    store = Store(tmp_path_factory.mktemp("store"))
    add_stand_in(store, MOBILE)
    return store


@pytest.fixture(scope="session")
def resnet34_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the ResNet34 stand-in, converted."""
    store = Store(tmp_path_factory.mktemp("resnet34"))
    add_stand_in(store, RESNET34)
    return store


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory, test_data: Path) -> Store:
    """A store with the trained MobileFaceNet, imported unverified and converted."""
    store = Store(tmp_path_factory.mktemp("trained"))
    source = test_data / "models" / "model-y1-test2"
    known = manifest.load(MOBILE)
    importing.import_weights(store, known, [str(source)], allow_unverified=True, put=ir.put_to_use)
    return store


@pytest.fixture(scope="session")
def server(store: Store) -> Iterator[RunningServer]:
    """A server of the MobileFaceNet stand-in."""
    with running_server(small_settings(store)) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Iterator[FaceEmbeddingClient]:
    """A client of that server."""
    with FaceEmbeddingClient(server.address) as client:
        yield client


@pytest.fixture(scope="session")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    """A bare channel to that server, for requests that no client would make."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def faces() -> list[Face]:
    """Aligned faces, uint8 HWC BGR."""
    return [face.pixels_bgr for face in sample_faces(112, 112)]
