"""Servers that have too much to do, behind Envoy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from fleets import Fleet, Load, fleet, request
from proxies import proxying

from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, RawFace
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image
from support import wait_until
from support.processes import FAULTY, Running

pytestmark = pytest.mark.alone

Tell = Callable[[str], None]
REFUSED = "RESOURCE_EXHAUSTED"
EVERYBODY = 1000


@pytest.fixture
def servers(store: Store, tmp_path: Path) -> Iterator[Fleet]:
    """Three servers that hold little at a time."""
    flags = ("--max-bytes-in-flight", str(1 << 20))
    with fleet(store.root, 3, *flags, program=(FAULTY, str(tmp_path / "mode"))) as servers:
        yield servers


@contextmanager
def occupied(mode: Path, face: Image, *servers: Running) -> Iterator[None]:
    """Have servers hold as much as they can until the block ends, each with one call."""
    mode.write_text("hang")
    with ExitStack() as stack:
        for server in servers:
            channel = stack.enter_context(grpc.insecure_channel(server.address))
            call = pb_grpc.FaceEmbeddingServiceStub(channel).Embed.future(request(face, 32))
            stack.callback(call.cancel)
            wait_until(lambda server=server: server.metric("queue_depth") > 0)
        mode.write_text("")
        yield


def test_overloaded_one(servers: Fleet, faces: list[Image], tmp_path: Path, tell: Tell) -> None:
    """What one server refuses as it has too much to do is answered by another."""
    busy = servers.servers[0]
    with (
        proxying(servers.ports, tmp_path) as proxy,
        FaceEmbeddingClient(proxy.address) as client,
        occupied(tmp_path / "mode", faces[0], busy),
    ):
        with Load(lambda: client.embed(RawFace(faces[0], "BGR"))) as load:
            load.more(600)
        refused = servers.counts(REFUSED)
    tell(
        f"one of three overloaded: failed calls {len(load.failures)} of {load.calls}, "
        f"{refused[0]} of them refused by it and answered by another"
    )
    assert load.failures == []
    assert refused[0] > 0


def test_overloaded_all(servers: Fleet, faces: list[Image], tmp_path: Path, tell: Tell) -> None:
    """Where all are overloaded, Envoy repeats few of many calls."""
    with (
        proxying(servers.ports, tmp_path) as proxy,
        grpc.insecure_channel(proxy.address) as channel,
        occupied(tmp_path / "mode", faces[0], *servers.servers.values()),
    ):
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        one = request(faces[0])
        calls = [embed.future(one, timeout=60) for _ in range(EVERYBODY)]
        codes = {call.code() for call in calls}
        came = sum(servers.counts(REFUSED))
    tell(f"all overloaded: {came} calls came for {EVERYBODY} that were made at a time")
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert came <= 1.25 * EVERYBODY
