"""A program: callers who never pause, each with a connection of its own.

`crowd.py ADDRESS KIND NUMBER` writes a line when it begins, and goes on until it is ended.
"""

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable

import grpc
from callers import connected
from mixed_load import ALIGNED, PHOTOGRAPH

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc

_BATCH = 64
_TIMEOUT_S = 60


def _calls(*faces: pb.Face) -> Callable[[pb_grpc.FaceEmbeddingServiceStub], None]:
    request = pb.EmbedRequest(faces=faces)

    def call(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
        stub.Embed(request, timeout=_TIMEOUT_S)

    return call


def _stream(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    items = (pb.EmbedStreamRequest(id=str(number), face=ALIGNED) for number in itertools.count())
    for _ in stub.EmbedStream(items):
        pass


KINDS = {
    "batches": _calls(*[ALIGNED] * _BATCH),
    "photographs": _calls(PHOTOGRAPH),
    "a stream": _stream,
}


def _repeat(address: str, kind: str) -> None:
    with connected(address) as channel:
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        while True:
            # Who is refused calls again.
            with contextlib.suppress(grpc.RpcError):
                KINDS[kind](stub)


def main() -> None:
    """Call until ended."""
    address, kind, number = sys.argv[1:]
    for _ in range(int(number)):
        threading.Thread(target=_repeat, args=[address, kind], daemon=True).start()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
