"""What every server of gRPC is expected to answer beside its own methods: health and the like."""

import dataclasses
import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
import trustme
from google.protobuf.message import Message
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.rpc import health, wire
from face_embedding_server.server import Server
from support import RunningServer, http2, info_of, issue, running_server, small_settings, status_of
from support.http2 import Frame

TIMEOUT_S = 60
PATIENCE_S = 10  # With a server that has to do something after one second.
SERVICES = ("face_embedding.v1.FaceEmbeddingService", "inference.GRPCInferenceService")
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
CHANNELZ = "grpc.channelz.v1.Channelz"
NO_ID = 1 << 62
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def check(channel: grpc.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S).status


def model_info(channel: grpc.Channel) -> pb.GetModelInfoResponse:
    stub = pb_grpc.FaceEmbeddingServiceStub(channel)
    return stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S)


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health(service: str, channel: grpc.Channel) -> None:
    """The server as a whole, and each of its services, tells that it serves."""
    assert check(channel, service) == SERVING


def test_health_of_an_unknown_service(channel: grpc.Channel) -> None:
    """The health of a service that the server does not have is NOT_FOUND."""
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "other.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_watch(service: str, store: Store) -> None:
    """Who watches health is told when the model is loaded."""
    with (
        running_server(small_settings(store, detector="none"), load=False) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        request = health_pb2.HealthCheckRequest(service=service)
        watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=TIMEOUT_S)
        assert next(watch).status == NOT_SERVING
        assert check(channel, service) == NOT_SERVING
        running.server.load()
        assert next(watch).status == SERVING


def test_watch_of_an_unknown_service(channel: grpc.Channel) -> None:
    """Who watches a service that the server does not have is told so, and may wait for it."""
    request = health_pb2.HealthCheckRequest(service="other.Service")
    watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=TIMEOUT_S)
    assert next(watch).status == SERVICE_UNKNOWN
    watch.cancel()


@pytest.fixture(scope="module")
def probed(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with TLS and a port for probes."""
    identity = issue(tmp_path_factory.mktemp("identity"), trustme.CA(), "localhost")
    settings = small_settings(
        store, detector="none", health_address="127.0.0.1:0", **identity.settings()
    )
    with running_server(settings) as running:
        yield running


@pytest.fixture
def probe(probed: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{probed.server.health_port}") as channel:
        yield channel


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_probe(service: str, probe: grpc.Channel) -> None:
    """A probe needs no TLS at the port for health."""
    assert check(probe, service) == SERVING


@pytest.mark.parametrize(
    "path", [f"/{SERVICES[0]}/GetModelInfo", f"/{SERVICES[1]}/ServerLive", f"/{REFLECTION}/x"]
)
def test_probe_of_other_services(path: str, probe: grpc.Channel) -> None:
    """The port for health answers nothing else."""
    with pytest.raises(grpc.RpcError) as caught:
        probe.unary_unary(path)(b"", timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_large_probe(probe: grpc.Channel) -> None:
    """Nor does it receive more than the name of a service."""
    with pytest.raises(grpc.RpcError) as caught:
        probe.unary_unary(f"/{HEALTH}/Check")(bytes(2 * health.MOST_BYTES), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_plaintext_at_the_main_port(probed: RunningServer) -> None:
    """The port for health opens no way around TLS at the main port."""
    with grpc.insecure_channel(probed.address) as channel, pytest.raises(grpc.RpcError) as caught:
        check(channel, "")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_no_probe_by_default(server: RunningServer) -> None:
    """There is no port for health alone unless it was asked for."""
    assert server.server.health_port is None


def listed(channel: grpc.Channel) -> set[str]:
    """The services that reflection lists."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)
    return {each.name for each in answer.list_services_response.service}


def test_reflection(channel: grpc.Channel) -> None:
    """Reflection lists all services, also itself."""
    assert listed(channel) == {*SERVICES, HEALTH, REFLECTION}


def test_reflection_of_the_other_contract(channel: grpc.Channel) -> None:
    """Reflection tells the contract of the Open Inference Protocol."""
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICES[1])
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)
    (file,) = answer.file_descriptor_response.file_descriptor_proto
    assert b"ModelStreamInfer" in file


@pytest.fixture(scope="module")
def inspected(store: Store) -> Iterator[RunningServer]:
    """A server of channelz, without reflection, which pings its clients every second."""
    changes = {"channelz": True, "reflection": False, "keepalive_s": 1, "keepalive_timeout_s": 1}
    with running_server(small_settings(store, detector="none", **changes)) as running:
        yield running


@pytest.fixture
def inspector(inspected: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(inspected.address) as channel:
        yield channel


def test_without_reflection(inspector: grpc.Channel) -> None:
    """Reflection can be turned off."""
    with pytest.raises(grpc.RpcError) as caught:
        listed(inspector)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_no_channelz_by_default(channel: grpc.Channel) -> None:
    """Channelz is off unless it was asked for."""
    with pytest.raises(grpc.RpcError) as caught:
        channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_channelz(inspector: grpc.Channel) -> None:
    """Channelz tells how many calls the server has had."""
    stub = channelz_pb2_grpc.ChannelzStub(inspector)

    def calls() -> int:
        servers = stub.GetServers(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S).server
        return sum(each.data.calls_started for each in servers)

    before = calls()
    assert before > 0
    for _ in range(3):
        model_info(inspector)
    assert calls() >= before + 3


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("GetServer", channelz_pb2.GetServerRequest(server_id=NO_ID)),
        ("GetServerSockets", channelz_pb2.GetServerSocketsRequest(server_id=NO_ID)),
        ("GetChannel", channelz_pb2.GetChannelRequest(channel_id=NO_ID)),
        ("GetSubchannel", channelz_pb2.GetSubchannelRequest(subchannel_id=NO_ID)),
        ("GetSocket", channelz_pb2.GetSocketRequest(socket_id=NO_ID)),
    ],
)
def test_unknown_channelz_ids(
    inspector: grpc.Channel, method: str, message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    """An id that channelz does not know is not found, which is no fault to be logged."""
    call = getattr(channelz_pb2_grpc.ChannelzStub(inspector), method)
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert not [record for record in caplog.records if record.exc_info]


def sockets(stub: channelz_pb2_grpc.ChannelzStub) -> Iterator[channelz_pb2.Socket]:
    """All sockets of all servers, those that listen and those of connections."""
    for server in stub.GetServers(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S).server:
        asked = channelz_pb2.GetServerSocketsRequest(server_id=server.ref.server_id)
        found = stub.GetServerSockets(asked, timeout=TIMEOUT_S).socket_ref
        for ref in (*found, *server.listen_socket):
            request = channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)
            yield stub.GetSocket(request, timeout=TIMEOUT_S).socket


def test_channelz_sockets(inspector: grpc.Channel) -> None:
    """Channelz tells of each socket, but for what its messages have no field for."""
    found = list(sockets(channelz_pb2_grpc.ChannelzStub(inspector)))
    assert any(each.data.streams_started for each in found)


def test_channelz_channels(inspector: grpc.Channel) -> None:
    """And of the channels of its process, as a client's in this test."""
    stub = channelz_pb2_grpc.ChannelzStub(inspector)
    told = stub.GetTopChannels(channelz_pb2.GetTopChannelsRequest(), timeout=TIMEOUT_S)
    assert any(each.data.calls_started for each in told.channel)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(bytes(4 * wire.MAX_PARTS * [0x18]), "MALFORMED"), (b"\xff", "MALFORMED")],
    ids=["too many parts", "no message"],
)
def test_channelz_of_no_message(inspector: grpc.Channel, data: bytes, reason: str) -> None:
    """What channelz is asked is held against the same limits as all messages."""
    with pytest.raises(grpc.RpcError) as caught:
        inspector.unary_unary(f"/{CHANNELZ}/GetServers")(data, timeout=TIMEOUT_S)
    assert info_of(status_of(caught.value)).reason == reason


def test_long_question_to_reflection(channel: grpc.Channel) -> None:
    """Reflection takes names, and sends nothing long back."""
    request = reflection_pb2.ServerReflectionRequest(file_by_filename="x" * 5000)
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S))
    assert info_of(status_of(caught.value)).reason == "MALFORMED"


def pings(running: RunningServer, *, answer: bool) -> Iterator[None]:
    """Be a client that calls nothing, until the server ends the connection; yield at each ping."""
    address = ("127.0.0.1", running.server.port)
    with (
        socket.create_connection(address, PATIENCE_S) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(http2.PREFACE + Frame(http2.SETTINGS).encode())
        for frame in http2.read_frames(file):
            if frame.kind == http2.SETTINGS and frame.flags != http2.ACK:
                connection.sendall(Frame(http2.SETTINGS, http2.ACK).encode())
            elif frame.kind == http2.PING:
                yield
                if answer:
                    connection.sendall(dataclasses.replace(frame, flags=http2.ACK).encode())


@pytest.mark.slow
def test_keepalive(inspected: RunningServer) -> None:
    """A silent client is pinged again and again, and may stay if it answers."""
    assert len(list(itertools.islice(pings(inspected, answer=True), 2))) == 2


@pytest.mark.slow
def test_dead_client(inspected: RunningServer) -> None:
    """A client that does not answer a ping in time is given up."""
    assert len(list(pings(inspected, answer=False))) == 1


def test_impatient_client(server: RunningServer) -> None:
    """A client that pings without a pause is sent away."""
    address = ("127.0.0.1", server.server.port)
    ping = Frame(http2.PING, payload=bytes(8)).encode()
    with (
        socket.create_connection(address, PATIENCE_S) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(http2.PREFACE + Frame(http2.SETTINGS).encode() + 10 * ping)
        assert any(frame.kind == http2.GOAWAY for frame in http2.read_frames(file))


@pytest.mark.slow
def test_connection_age(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """An old connection is replaced by a new one, and no call fails by it."""
    settings = small_settings(store, detector="none", max_connection_age_s=1)
    with (
        caplog.at_level(logging.DEBUG, "face_embedding_server.rpc.call_scope"),
        running_server(settings) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        deadline = time.monotonic() + TIMEOUT_S
        while len(peers := {vars(each).get("peer") for each in caplog.records} - {None}) < 3:
            assert time.monotonic() < deadline, peers
            model_info(channel)


@pytest.mark.slow
def test_connection_age_grace(store: Store) -> None:
    """A stream on an old connection is ended once it has had its time to finish."""
    ages = {"max_connection_age_s": 1, "max_connection_age_grace_s": 1}
    over = threading.Event()

    def nothing() -> Iterator[pb.EmbedStreamRequest]:
        over.wait()
        yield pb.EmbedStreamRequest()

    with (
        running_server(small_settings(store, detector="none", **ages)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        stream = stub.EmbedStream(nothing(), timeout=TIMEOUT_S)
        assert stream.code() is grpc.StatusCode.UNAVAILABLE
        over.set()


def test_stops_after_malformed_requests(store: Store) -> None:
    """Bytes that gRPC itself refuses, as no request, do not keep the server from stopping."""
    server = Server(small_settings(store, detector="none"))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        reflect = channel.stream_stream(f"/{REFLECTION}/ServerReflectionInfo")
        for _ in range(100):
            with pytest.raises(grpc.RpcError):
                next(reflect(iter([b"\xff\xff\xff"]), timeout=TIMEOUT_S))
    stopping = threading.Thread(target=server.stop, daemon=True)
    stopping.start()
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
