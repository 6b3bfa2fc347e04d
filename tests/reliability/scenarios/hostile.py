"""Messages and images that ask for more than they are."""

import contextlib
import random
import resource
import tempfile
from pathlib import Path

import grpc
from callers import connected, embedding, timed
from PIL import Image as Pillow
from promises import Figures, Noted, Promise, scenario

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import FaceEmbeddingClient, InvalidRequestError, SuspectRequestError
from support import MOBILE, person, wait_until
from support import hostile_images as made
from support.measured_decoding import decode_measured
from support.processes import FAULTY, serving

_TIMEOUT_S = 30
_SERVERS = 4
_DAMAGED = 2000
_COMPRESSED = 100
_MORE_BYTES = 2 << 30
# A header that announces 4 GB and has 13 bytes.
_HEADER = made.png_header(112, 112)[16:29]
_PNG = (made.PNG_START + made.chunk(b"IHDR", _HEADER, 0xFFFFFFF0))[:33]
_LARGE = [("grpc.max_send_message_length", -1)]


def _code(call: grpc.Future) -> grpc.StatusCode:
    code: grpc.StatusCode = call.code()  # type: ignore[attr-defined]
    return code


@scenario(
    Promise("a PNG of 33 bytes that announces 4 GB: memory's growth, with 2 GB to have", 50, "MB")
)
def _announced(store: Path) -> Figures:
    with serving(store) as running, connected(running.address) as channel:
        embed = embedding(channel)
        embed()
        taken = int(Path(f"/proc/{running.pid}/statm").read_text().split()[0])
        limit = taken * resource.getpagesize() + _MORE_BYTES
        resource.prlimit(running.pid, resource.RLIMIT_AS, (limit, limit))
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        before = running.forget_peak()
        for how in ({"aligned": pb.Aligned()}, {"detect": pb.DetectFace()}):
            request = pb.EmbedRequest(faces=[pb.Face(encoded=_PNG, **how)])
            code = _code(stub.Embed.future(request, timeout=_TIMEOUT_S))
            assert code is grpc.StatusCode.INVALID_ARGUMENT, code
        yield running.peak_mb - before
        embed()


@scenario(
    Promise(f"{_DAMAGED:,} damaged images: most memory for one", 50, "MB"),
    Promise(f"{_DAMAGED:,} damaged images: most processor time for one", 1, "s"),
)
def _damaged(_: Path) -> Figures:
    chance = random.Random(0)
    picture = Pillow.fromarray(person()[:96, :128])
    good = [
        made.encoded(picture, "JPEG"),
        made.encoded(picture, "JPEG", progressive=True, exif=made.exif(6)),
        made.encoded(picture, "PNG", exif=made.exif(6), icc_profile=bytes(9000)),
        made.encoded(picture, "WEBP", exif=made.exif(6)),
    ]
    decoded = decode_measured(made.damaged(chance.choice(good), chance) for _ in range(_DAMAGED))
    refused = sum(bool(each.refusal) for each in decoded)
    yield Noted(max(each.peak_bytes for each in decoded) / 1e6, f"{refused:,} were refused")
    yield max(each.processor_s for each in decoded)


@scenario(
    Promise(f"{_COMPRESSED} compressed messages of 15 MB: memory's growth", 50, "MB"),
    Promise("a V2 tensor with a shape of 16 million numbers: memory's growth", 100, "MB"),
    Promise("a V2 tensor with a shape of 16 million numbers: its refusal", 0.5, "s"),
)
def _unfolding(store: Path) -> Figures:
    with (
        serving(store) as running,
        grpc.insecure_channel(running.address, _LARGE) as channel,
    ):
        embed = embedding(channel)
        embed()
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        bomb = pb.EmbedRequest(faces=[pb.Face(encoded=bytes(15_000_000), aligned=pb.Aligned())])
        before = running.forget_peak()
        for _ in range(_COMPRESSED):
            call = stub.Embed.future(bomb, timeout=_TIMEOUT_S, compression=grpc.Compression.Gzip)
            assert _code(call) is grpc.StatusCode.UNIMPLEMENTED, _code(call)
        yield running.peak_mb - before
        tensor = oip.ModelInferRequest(model_name=MOBILE)
        tensor.inputs.add(name="data", datatype="FP32", shape=[1] * 16_000_000)
        infer = oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        before = running.forget_peak()
        refusals = []

        def refused() -> None:
            refusals.append(_code(infer.future(tensor, timeout=_TIMEOUT_S)))

        seconds = timed(refused)
        assert refusals[0] in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        yield running.peak_mb - before
        yield seconds
        embed()


@scenario(
    Promise("servers of four that end by that PNG and a client that repeats calls", 0),
    Promise("servers of four that end by a face on which every engine dies, and that client", 2),
)
def _poison(store: Path) -> Figures:
    with contextlib.ExitStack() as stack:
        mode = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "mode"
        servers = [
            stack.enter_context(serving(store, program=(FAULTY, str(mode))))
            for _ in range(_SERVERS)
        ]
        address = "ipv4:" + ",".join(server.address for server in servers)
        client = stack.enter_context(FaceEmbeddingClient(address, round_robin=True, retries=4))

        def dead() -> int:
            return sum(server.process.poll() is not None for server in servers)

        with contextlib.suppress(InvalidRequestError):
            client.embed(_PNG)
        yield dead()
        face = made.encoded(Pillow.new("RGB", (112, 112)), "PNG")
        mode.write_text("die")
        with contextlib.suppress(SuspectRequestError):
            client.embed(face)
        mode.write_text("")
        # Whoever was asked has died by now, as its connection was lost by that.
        wait_until(lambda: dead() >= 2)
        yield dead()
        client.embed(face)


SCENARIOS = (_announced, _damaged, _unfolding, _poison)
