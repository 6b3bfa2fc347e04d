"""Messages of very many parts are refused before they are parsed, and others take little memory."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.message import Message

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.errors import Refusal
from face_embedding_server.limits import MAX_FACES_PER_REQUEST
from face_embedding_server.rpc import methods, wire
from support import info_of, status_of

# Nearly as many bytes as the server of these tests takes.
FULL = (1 << 20) - 64
# Of what is allocated at the first call, and of the tables of the contract.
SMALL = 1 << 20
EMBED = "/face_embedding.v1.FaceEmbeddingService/Embed"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


def varint(number: int) -> bytes:
    """A number as it stands in a message."""
    given = bytearray()
    while number >= 128:
        given.append(number & 127 | 128)
        number >>= 7
    return bytes([*given, number])


def part(number: int, content: bytes = b"") -> bytes:
    """A field that has content."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def many(each: bytes, size: int = FULL) -> bytes:
    """As many of them as there is room for."""
    return each * (size // len(each))


def tensor(content: bytes) -> bytes:
    """A request with one input."""
    return part(5, content)


# Each takes many times its bytes when it is parsed.
BOMBS: dict[str, tuple[type[Message], bytes, str, str]] = {
    "faces": (pb.EmbedRequest, many(part(2)), "TOO_MANY_FACES", "faces"),
    "faces with a part": (pb.EmbedRequest, many(part(2, part(3))), "TOO_MANY_FACES", "faces"),
    "one face": (pb.EmbedRequest, part(2, many(part(3))), "MALFORMED", "faces"),
    "values that are not packed": (
        pb.CompareRequest,
        part(2, part(2, many(b"\x0d\0\0\0\0"))),
        "MALFORMED",
        "first",
    ),
    "fields of another contract": (pb.EmbedRequest, many(part(900)), "MALFORMED", ""),
    "one field again and again": (pb.GetModelInfoRequest, many(part(1)), "MALFORMED", "model"),
    "after a group": (
        pb.EmbedRequest,
        b"\x0b\x12\x01\xff\x0c" + many(part(2)),
        "TOO_MANY_FACES",
        "faces",
    ),
    "inputs": (oip.ModelInferRequest, many(part(5)), "MALFORMED", "inputs"),
    "outputs": (oip.ModelInferRequest, many(part(6)), "MALFORMED", "outputs"),
    "parameters": (oip.ModelInferRequest, many(part(4)), "MALFORMED", "parameters"),
    "raw contents": (oip.ModelInferRequest, many(part(7)), "MALFORMED", "raw_input_contents"),
    "a long shape": (
        oip.ModelInferRequest,
        tensor(part(3, many(b"\x01"))),
        "MALFORMED",
        "inputs",
    ),
    "long numbers of ten bytes": (
        oip.ModelInferRequest,
        tensor(part(3, many(b"\xff" * 9 + b"\x01"))),
        "MALFORMED",
        "inputs",
    ),
    "typed files": (oip.ModelInferRequest, tensor(part(5, many(part(8)))), "MALFORMED", "inputs"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_refuses_many_parts(name: str) -> None:
    """A message of too many parts is refused, and the field is named that has them."""
    kind, data, reason, field = BOMBS[name]
    with pytest.raises(Refusal) as refused:
        wire.check(kind, data)
    assert (refused.value.reason.name, refused.value.field) == (reason, field)


@dataclass(frozen=True)
class Large:
    """A large message that makes sense, or could."""

    kind: type[Message]
    data: bytes


LANDMARKS = b"".join(part(number, b"\x0d\0\0\0\0\x15\0\0\0\0") for number in range(1, 6))
FACE = part(2, part(1, bytes(200)) + part(4, LANDMARKS))
LARGE: dict[str, Callable[[], Large]] = {
    "as many faces with landmarks as may be": lambda: Large(
        pb.EmbedRequest, FACE * MAX_FACES_PER_REQUEST
    ),
    "an image": lambda: Large(pb.EmbedRequest, part(2, part(1, bytes(FULL)))),
    "values": lambda: Large(pb.CompareRequest, part(2, part(2, part(1, bytes(FULL // 4 * 4))))),
    "raw tensors": lambda: Large(oip.ModelInferRequest, part(7, bytes(FULL))),
    "typed floats": lambda: Large(
        oip.ModelInferRequest, tensor(part(5, part(6, bytes(FULL // 4 * 4))))
    ),
    "typed UINT8": lambda: Large(oip.ModelInferRequest, tensor(part(5, part(4, bytes(FULL))))),
    "typed truth values": lambda: Large(
        oip.ModelInferRequest, tensor(part(5, part(1, bytes(FULL))))
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_takes_large_messages(name: str) -> None:
    """A large message of few parts is parsed."""
    large = LARGE[name]()
    assert methods.parse(large.kind, large.data).ByteSize() > 0


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(many(b"\xff"), id="no message"),
        pytest.param(part(2, part(1, bytes(FULL)))[:-1], id="cut short"),
        pytest.param(many(b"\x0f"), id="an unknown kind"),
    ],
)
def test_leaves_damage_to_the_parser(damaged: bytes) -> None:
    """Bytes that are no message are refused as such, however many they are."""
    with pytest.raises(Refusal, match="the bytes are not a face_embedding"):
        methods.parse(pb.EmbedRequest, damaged)


@pytest.mark.parametrize("before", [b"", b"\x0a"], ids=["its first number", "a size"])
def test_number_without_an_end(before: bytes) -> None:
    """A number that goes on and on is looked at no further than any number goes."""
    since = time.process_time()
    wire.check(pb.EmbedRequest, before + many(b"\xff"))
    assert time.process_time() - since < 1


def test_small_messages_are_not_counted() -> None:
    """A message of few bytes is parsed whatever it is made of: its faces are counted after."""
    data = many(part(2), wire.FREE_BYTES)
    assert len(methods.parse(pb.EmbedRequest, data).faces) > MAX_FACES_PER_REQUEST


@pytest.mark.parametrize(
    ("method", "name"), [(EMBED, "faces"), (MODEL_INFER, "a long shape")], ids=["ours", "V2"]
)
def test_tells_the_caller(channel: grpc.Channel, method: str, name: str) -> None:
    """A caller of either protocol learns which field has too many parts."""
    _, data, reason, field = BOMBS[name]
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(data)
    info = info_of(status_of(refused.value))
    assert (info.reason, info.metadata["field"]) == (reason, field)


MEASURE = """
import re, sys
from pathlib import Path
from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_server.errors import Refusal
from face_embedding_server.rpc import methods

def held(what):
    status = Path("/proc/self/status").read_text()
    return int(re.search(what + r":\\s+(\\d+)", status).group(1)) << 10

kind = getattr(pb, sys.argv[1], None) or getattr(oip, sys.argv[1])
data = sys.stdin.buffer.read()
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
try:
    methods.parse(kind, data)
except Refusal:
    pass
print(held("VmHWM") - before)
"""


def memory_taken(kind: type[Message], data: bytes) -> int:
    """Return the bytes of memory that parsing takes at its peak, in a process of its own."""
    command = [sys.executable, "-c", MEASURE, kind.DESCRIPTOR.name]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("name", ["as many faces with landmarks as may be", "typed UINT8"])
def test_parsing_takes_little_memory(name: str) -> None:
    """No message takes more than seven times its bytes, and a little, when it is parsed."""
    large = LARGE[name]()
    assert memory_taken(large.kind, large.data) <= 7 * len(large.data) + SMALL


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("name", ["faces", "inputs", "a long shape"])
def test_refusing_takes_little_memory(name: str) -> None:
    """A message of too many parts takes next to nothing."""
    kind, data, _, _ = BOMBS[name]
    assert memory_taken(kind, data) <= SMALL
