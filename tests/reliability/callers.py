"""Honest callers, whose answers are timed while others do harm."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mixed_load import ALIGNED

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc

TIMEOUT_S = 30
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_PAUSE_S = 0.02


@contextlib.contextmanager
def connected(address: str) -> Iterator[grpc.Channel]:
    """Give a connection of one's own to a server."""
    with grpc.insecure_channel(address, _OWN_CONNECTION) as channel:
        yield channel


def embedding(
    channel: grpc.Channel, faces: int = 1, timeout_s: float = TIMEOUT_S
) -> Callable[[], object]:
    """Return what embeds aligned faces by one call, and raises if one has no embedding."""
    stub = pb_grpc.FaceEmbeddingServiceStub(channel)
    request = pb.EmbedRequest(faces=[ALIGNED] * faces)

    def embed() -> None:
        answer = stub.Embed(request, timeout=timeout_s)
        assert all(result.HasField("embedding") for result in answer.results)

    return embed


def checking(channel: grpc.Channel) -> Callable[[], object]:
    """Return what checks health, and raises if the server does not serve."""
    check = health_pb2_grpc.HealthStub(channel).Check

    def serves() -> None:
        answer = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    return serves


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed_for(seconds: float, call: Callable[[], object]) -> list[float]:
    """Call again and again for some time; return the seconds that each call took."""
    end, took = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        took.append(timed(call))
    return took


@contextlib.contextmanager
def health_timed(address: str) -> Iterator[list[float]]:
    """Check health beside what the block does; give the seconds that each check took."""
    took: list[float] = []
    over = threading.Event()

    def repeat(check: Callable[[], object]) -> None:
        while not over.wait(_PAUSE_S):
            try:
                took.append(timed(check))
            except grpc.RpcError:
                took.append(TIMEOUT_S)  # As good as none.

    with connected(address) as channel:
        thread = threading.Thread(target=repeat, args=[checking(channel)])
        thread.start()
        try:
            yield took
        finally:
            over.set()
            thread.join()


def p99(took: Sequence[float]) -> float:
    """Return what 99 of a hundred stay within; infinity if there is none."""
    return sorted(took)[int(0.99 * len(took))] if took else float("inf")
