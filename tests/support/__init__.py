"""What several tests need: servers, stand-ins, image files."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import openvino as ov
import pytest
import trustme
from google.rpc import error_details_pb2, status_pb2
from skimage import data

from face_embedding_models import manifest
from face_embedding_models.mxnet import synthesis
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store
from face_embedding_models.store.stored import Provenance
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.server import Server
from face_embedding_server.settings import Settings
from face_embedding_server.telemetry.tracing import CallTracer

MOBILE = "face-recognition-mobilefacenet-arcface"
RESNET34 = "face-recognition-resnet34-arcface"

SYNTHETIC = Provenance("synthetic", "synthesize")

needs_bf16 = pytest.mark.skipif(
    "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor has no bf16",
)

# The one platform with a package of MXNet that can be loaded. There, not to load it is a failure.
needs_mxnet = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="MXNet 1.9.1 has no package that runs on this platform",
)
WITH_MXNET = pytest.param("mxnet", marks=needs_mxnet)


@dataclass(frozen=True)
class Golden:
    """Aligned faces, uint8 BGR, and the raw embeddings that MXNet alone gave for them."""

    names: list[str]
    files: list[Path]
    faces: list[Face]
    embeddings: np.ndarray


def add_stand_in(store: Store, name: str) -> None:
    known = manifest.load(name)
    ir.put_to_use(store, known, synthesis.synthesize(known), SYNTHETIC)


@dataclass(frozen=True)
class RunningServer:
    """A server in this process, and its address."""

    server: Server
    address: str


@contextmanager
def running_server(
    settings: Settings, *, load: bool = True, tracer: CallTracer | None = None
) -> Iterator[RunningServer]:
    """Run a server on a free port until the block ends."""
    server = Server(settings, tracer)
    server.start()
    try:
        if load:
            server.load()
        yield RunningServer(server, f"127.0.0.1:{server.port}")
    finally:
        server.stop()


def small_settings(store: Store, **changes: object) -> Settings:
    """Settings with limits that tests can reach, and no time spent on stopping."""
    values: dict[str, object] = {
        "model": store.names()[0],
        "store": store.root,
        "address": "127.0.0.1:0",
        "max_faces_per_request": 4,
        "max_message_bytes": 1 << 20,
        "max_encoded_bytes": 200_000,
        "drain_s": 0,
    }
    return Settings.model_validate(values | changes)


def metric(running: RunningServer, name: str, **labels: str) -> float:
    """Return a metric of a server, by its name without the prefix; 0 if it is not there yet."""
    return running.server.metrics.registry.get_sample_value(f"face_embedding_{name}", labels) or 0


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """Return the status in the trailers of a refused call."""
    trailers = dict(error.trailing_metadata())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """Return what a status says to programs."""
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def wait_until(reached: Callable[[], bool]) -> None:
    """Ask again and again whether something is so; the time limit of tests bounds it."""
    while not reached():
        # Lets others run, who may make it so.
        os.sched_yield()


def after(seconds: float) -> Callable[[], bool]:
    """Return what tells whether so much time has passed, for tests of what time itself does."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def person() -> Face:
    """Return a photograph of one person, uint8 BGR."""
    return cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)


def encode(face: Face, suffix: str = ".png") -> bytes:
    """Return a face as an image file."""
    done, data = cv2.imencode(suffix, face)
    assert done
    return data.tobytes()


@dataclass(frozen=True)
class Identity:
    """A certificate with its chain and its key, as PEM files."""

    certificate: Path
    key: Path

    def settings(self) -> dict[str, Path]:
        """What tells a server to use it."""
        return {"tls_certificate": self.certificate, "tls_key": self.key}


def issue(folder: Path, authority: trustme.CA, *names: str, **options: Any) -> Identity:
    """Write a certificate for some names, of an authority, and its key to a folder."""
    made = authority.issue_cert(*names, **options)
    identity = Identity(folder / "certificate.pem", folder / "key.pem")
    folder.mkdir(parents=True, exist_ok=True)
    identity.certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(identity.key)
    return identity
