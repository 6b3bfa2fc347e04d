"""What several tests need: servers, stand-ins, image files."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from face_embedding_models import ir, manifest, synthesis
from face_embedding_models.store import Store
from face_embedding_server.images import Face
from face_embedding_server.server import Server
from face_embedding_server.settings import Settings

MOBILE = "face-recognition-mobilefacenet-arcface"
RESNET34 = "face-recognition-resnet34-arcface"
SERVER_TIMEOUT_S = 60
T = TypeVar("T")


@dataclass(frozen=True)
class Golden:
    """Aligned faces, uint8 BGR, and the raw embeddings that MXNet alone gave for them."""

    names: list[str]
    files: list[Path]
    faces: list[Face]
    embeddings: np.ndarray


def add_stand_in(store: Store, name: str) -> None:
    known = manifest.load(name)
    ir.convert(store.add(known, *synthesis.synthesize(known), "synthetic", "synthesize"))


@dataclass(frozen=True)
class RunningServer:
    """A server in a thread of this process: its address, and a way to run code in its loop."""

    address: str
    server: Server
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(SERVER_TIMEOUT_S)


@contextmanager
def running_server(settings: Settings, *, load: bool = True) -> Iterator[RunningServer]:
    """Run a server on a free port until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    async def start() -> Server:
        server = Server(settings)
        await server.start()
        if load:
            await server.load()
        return server

    try:
        started = asyncio.run_coroutine_threadsafe(start(), loop).result(SERVER_TIMEOUT_S)
        yield RunningServer(f"127.0.0.1:{started.port}", started, loop)
        asyncio.run_coroutine_threadsafe(started.stop(), loop).result(SERVER_TIMEOUT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SERVER_TIMEOUT_S)
        loop.close()


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


def encode(face: Face, suffix: str = ".png") -> bytes:
    """Return a face as an image file."""
    done, data = cv2.imencode(suffix, face)
    assert done
    return data.tobytes()
