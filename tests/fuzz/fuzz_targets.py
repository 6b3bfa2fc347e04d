"""What is fuzzed: functions of any bytes that return, or fail where a promise is broken."""

import struct
from collections.abc import Callable, Mapping

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.errors import CheckpointError
from face_embedding_models.mxnet import checkpoint as mxnet_checkpoint
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces import headers
from face_embedding_server.faces.face import Face
from face_embedding_server.faces.headers import ImageSize, UnreadableImageError
from face_embedding_server.faces.images import ImageReader
from face_embedding_server.faces.reader import FaceReader, PreparedFace
from face_embedding_server.inference.embeddings import EmbeddingSpace
from face_embedding_server.rpc import convert, methods
from face_embedding_server.rpc.open_inference import inputs
from face_embedding_server.rpc.status import status_of

_SIDE = 112
_MAX_FACES = 4
# Small limits, so that an input of a few kilobytes reaches them.
_READER = FaceReader(ImageSize(_SIDE, _SIDE), ImageReader(200_000, 1 << 20), None, _MAX_FACES)
_SPACE = EmbeddingSpace("space", 4)
_LENGTH = struct.Struct("<I")


def image_header(data: bytes) -> None:
    """Read the header of an image file, twice with the same outcome."""
    if _size(data) != _size(data):
        raise AssertionError("the second time it is another size")


def checkpoint(data: bytes) -> None:
    """Read a checkpoint; see `pack`."""
    if len(data) < _LENGTH.size:
        return
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0] % (len(data) + 1)
    try:
        found = mxnet_checkpoint.parse(data[_LENGTH.size : end], data[end:])
    except CheckpointError:
        return
    if sum(array.nbytes for array in found.arrays.values()) > len(data):
        raise AssertionError("the arrays are larger than their file")


def request(data: bytes) -> None:
    """Take a request from its bytes up to the engine: the first byte chooses the method."""
    if not data:
        return
    answer = _METHODS[data[0] % len(_METHODS)]
    try:
        answer(data[1:])
    except Refusal as refusal:
        if refusal.reason is Reason.INTERNAL or not status_of(refusal).message:
            raise AssertionError("a refusal that tells nothing") from refusal


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (image_header, checkpoint, request)
}


def pack(symbol: bytes, params: bytes) -> bytes:
    """Return both files of a checkpoint as one input: the symbol's length, and both."""
    return _LENGTH.pack(len(symbol)) + symbol + params


def _size(data: bytes) -> ImageSize | None:
    try:
        return headers.read_size(data)
    except UnreadableImageError:
        return None


def _embed(data: bytes) -> None:
    message = methods.parse(pb.EmbedRequest, data)
    convert.is_raw(message.normalization)
    for face in message.faces[:_MAX_FACES]:
        _read(face)


def _compare(data: bytes) -> None:
    message = methods.parse(pb.CompareRequest, data)
    for side in (message.first, message.second):
        if side.HasField("embedding"):
            _SPACE.vector(side.embedding.space, side.embedding.values)
        else:
            _read(side.face)


def _infer(data: bytes) -> None:
    message = methods.parse(oip.ModelInferRequest, data)
    inputs.wanted_outputs(message)
    for job in inputs.jobs(message, _WithoutEngine(), _MAX_FACES):
        job.embed()


def _read(face: pb.Face) -> None:
    for each in _READER.read(convert.face_of(face)):
        if each.pixels_bgr.shape != (_SIDE, _SIDE, 3):
            raise AssertionError("an aligned face of another size")


class _WithoutEngine:
    """A served model as far as requests are read for it: its one face is its reader's."""

    reader = _READER

    def embed(self, face: Face) -> list[PreparedFace]:
        return self.reader.read(face)

    def embed_prepared(self, face: PreparedFace) -> PreparedFace:
        return face


_METHODS = (_embed, _compare, _infer)
