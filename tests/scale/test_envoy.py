"""Several servers behind Envoy, by the configuration that is deployed."""

import contextlib
import http.client
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from fleets import CALLERS, Fleet, Load, fleet, request
from proxies import DEPLOYED, DRAIN_S, Proxy, proxying

from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    FaceEmbeddingClient,
    InvalidRequestError,
    RawFace,
    SuspectRequestError,
)
from face_embedding_models import manifest
from face_embedding_models.formats import PARAMS_FILE
from face_embedding_models.mxnet import params, synthesis
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image
from support import MOBILE, SYNTHETIC, wait_until
from support.processes import FAULTY

pytestmark = pytest.mark.alone

Tell = Callable[[str], None]
CALLS = 3000


@pytest.fixture(scope="module")
def three(store: Store) -> Iterator[Fleet]:
    """Three servers that stay as they are."""
    with fleet(store.root, 3) as servers:
        yield servers


@pytest.fixture(scope="module")
def proxy(three: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Envoy before them."""
    with proxying(three.ports, tmp_path_factory.mktemp("envoy")) as running:
        yield running


@pytest.fixture
def face(faces: list[Image]) -> RawFace:
    return RawFace(faces[0], "BGR")


def test_nothing_lost(store: Store, face: RawFace, tmp_path: Path, tell: Tell) -> None:
    """One is killed and comes back, all are begun anew in turn, a fourth comes: no call fails."""
    with (
        fleet(store.root, 4, of=3) as servers,
        proxying(servers.ports, tmp_path, of=3) as proxy,
        FaceEmbeddingClient(proxy.address) as client,
        Load(lambda: client.embed(face)) as load,
    ):
        load.more()
        os.kill(servers.servers[0].pid, signal.SIGKILL)
        load.more()
        for place in range(3):
            servers.stop(place)
            load.more()
            servers.start(place)
            wait_until(lambda: proxy.well() == set(servers.ports[:3]))
        servers.start(3)
        wait_until(lambda: proxy.well() == set(servers.ports))
        load.more()
        assert all(servers.counts())
    tell(f"killed, replaced in turn, added: failed calls {len(load.failures)} of {load.calls}")
    assert load.failures == []


def test_one_connection(three: Fleet, proxy: Proxy, faces: list[Image], tell: Tell) -> None:
    """The calls of one connection are spread over all servers, within a tenth."""
    before = three.counts()
    with grpc.insecure_channel(proxy.address) as channel, ThreadPoolExecutor(CALLERS) as threads:
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        list(threads.map(embed, [request(faces[0])] * CALLS))
    counts = [now - then for now, then in zip(three.counts(), before, strict=True)]
    share = CALLS / len(counts)
    tell(f"one connection: calls of the servers {counts}, {max(counts) / share - 1:+.1%} at most")
    assert sum(counts) == CALLS
    assert all(0.9 * share <= count <= 1.1 * share for count in counts)


def test_stopped(three: Fleet, proxy: Proxy, face: RawFace, tmp_path: Path, tell: Tell) -> None:
    """One of two Envoys stops, as it does in Kubernetes: no call fails."""
    with ExitStack() as stack:
        stopping = stack.enter_context(proxying(three.ports, tmp_path))
        both = f"ipv4:{stopping.address},{proxy.address}"
        client = stack.enter_context(FaceEmbeddingClient(both))
        load = stack.enter_context(Load(lambda: client.embed(face)))
        load.more()
        subprocess.run(before_stopping(stopping), check=True)
        os.kill(stopping.pid, signal.SIGTERM)
        load.more()
    tell(f"one of two Envoys stopped: failed calls {len(load.failures)} of {load.calls}")
    assert load.failures == []


def before_stopping(proxy: Proxy) -> list[str]:
    """Return what Kubernetes runs before it stops Envoy, for this one."""
    deployment = next(yaml.safe_load_all((DEPLOYED / "kubernetes.yaml").read_text("utf-8")))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    *command, script = container["lifecycle"]["preStop"]["exec"]["command"]
    script = script.replace("/9901", f"/{proxy.admin_port}")
    return [*command, script.replace("sleep 25", f"sleep {DRAIN_S + 1}")]


def test_request_id(proxy: Proxy, faces: list[Image]) -> None:
    """The id that a caller gives a call reaches the server, which answers with it."""
    with grpc.insecure_channel(proxy.address) as channel:
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        _, call = embed.with_call(request(faces[0]), metadata=[("x-request-id", "of-a-caller")])
        assert dict(call.trailing_metadata())["x-request-id"] == "of-a-caller"


def test_too_large(proxy: Proxy) -> None:
    """RESOURCE_EXHAUSTED of a message that is too large is not sent to another server."""
    with grpc.insecure_channel(proxy.address) as channel:
        large = request(np.zeros((2400, 2400, 3), np.uint8))
        with pytest.raises(grpc.RpcError) as raised:
            pb_grpc.FaceEmbeddingServiceStub(channel).Embed(large)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert proxy.statistic("upstream_rq_retry") == 0


def test_no_grpc(proxy: Proxy) -> None:
    """Requests of which servers would reset the streams take no server from the other callers."""
    kinds = ("application/grpc", "application/grpc+json", "application/grpc-web+json")

    def send(verb: str, kind: str) -> None:
        with contextlib.closing(http.client.HTTPConnection(proxy.address, timeout=60)) as caller:
            path = "/face_embedding.v1.FaceEmbeddingService/ListModels"
            caller.request(verb, path, bytes(5), {"content-type": kind})
            caller.getresponse().read()

    with ThreadPoolExecutor(CALLERS) as threads:
        for sent in [
            threads.submit(send, verb, kind)
            for verb, kind, _ in itertools.product(("POST", "GET"), kinds, range(20))
        ]:
            sent.result()
    assert proxy.statistic("upstream_rq_rx_reset") == 0
    assert proxy.statistic("outlier_detection.ejections_enforced_total") == 0


def test_deadly_request(store: Store, face: RawFace, tmp_path: Path) -> None:
    """A request that ends its server is sent to one other by the client, and by Envoy to none."""
    mode = tmp_path / "mode"
    with (
        fleet(store.root, 3, program=(FAULTY, str(mode))) as servers,
        proxying(servers.ports, tmp_path) as proxy,
        FaceEmbeddingClient(proxy.address) as client,
    ):
        client.model_info()
        mode.write_text("die")
        with pytest.raises(SuspectRequestError):
            client.embed(face)
        processes = [server.process for server in servers.servers.values()]
        # Their connections are gone a moment before they are.
        wait_until(lambda: sum(each.poll() is None for each in processes) == 1)
        mode.write_text("")
        assert client.embed(face).norm > 0


def test_replaced(store: Store, face: RawFace, tmp_path: Path, tell: Tell) -> None:
    """While a model is replaced everywhere, an embedding of the old one gets the right answer."""
    own = Store(shutil.copytree(store.root, tmp_path / "store"))
    answers: set[str] = set()

    def compare() -> None:
        try:
            compared = client.compare(stored, face)
            answers.add(f"{compared.cosine_similarity:.4f} {compared.space == stored.space}")
        except InvalidRequestError as error:
            answers.add(error.reason)

    with (
        fleet(own.root, 3) as servers,
        proxying(servers.ports, tmp_path) as proxy,
        FaceEmbeddingClient(proxy.address) as client,
    ):
        stored = client.embed(face)
        with Load(compare) as load:
            load.more()
            assert answers == {"1.0000 True"}
            put_another(own)
            for server in servers.servers.values():
                server.process.send_signal(signal.SIGHUP)
                load.more()
            wait_until(lambda: stored.space not in {client.embed(face).space for _ in range(30)})
            answers_until_then = set(answers)
            answers.clear()
            load.more()
    tell(f"model replaced: failed calls {len(load.failures)} of {load.calls}, none mixed")
    assert load.failures == []
    assert answers_until_then == {"1.0000 True", "EMBEDDING_SPACE"}
    assert answers == {"EMBEDDING_SPACE"}


def put_another(store: Store) -> None:
    """Put a model of the same name with other weights to use."""
    known = manifest.load(MOBILE)
    files = synthesis.synthesize(known)
    arrays = params.parse(files[PARAMS_FILE])
    last = arrays["arg:fc1_weight"]
    changed = params.dump({**arrays, "arg:fc1_weight": last[::-1]})
    ir.put_to_use(store, known, {**files, PARAMS_FILE: changed}, SYNTHETIC)


def test_circuit_breaker(three: Fleet, faces: list[Image], tmp_path: Path) -> None:
    """What is more than Envoy lets through at a time is refused at once, as never sent."""
    few = {"circuit_breakers": {"thresholds": [{"max_requests": 2}]}}
    change = {"static_resources": {"clusters": [few]}}
    with (
        proxying(three.ports, tmp_path, change) as proxy,
        grpc.insecure_channel(proxy.address) as channel,
    ):
        embed = pb_grpc.FaceEmbeddingServiceStub(channel).Embed
        calls = [embed.future(request(faces[0], 32)) for _ in range(20)]
        codes = {call.code(): call.details() for call in calls}
    assert codes.keys() == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes[grpc.StatusCode.UNAVAILABLE].endswith("reset reason: overflow")
