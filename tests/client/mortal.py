"""A program: a server that dies of every face that is `POISON`, as by kill -9.

It takes a port, or chooses one, and writes it; then, a line each, the faces that it was asked for.
"""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc

POISON = b"poison"
MAX_FACES = 4


class Mortal(pb_grpc.FaceEmbeddingServiceServicer):
    """Answers each face with the number of its bytes as its norm."""

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        limits = pb.Limits(
            max_encoded_bytes=1 << 20,
            max_message_bytes=1 << 20,
            max_faces_per_request=MAX_FACES,
            max_stream_in_flight=MAX_FACES,
        )
        return pb.GetModelInfoResponse(limits=limits, embedding_size=1)

    def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return pb.EmbedResponse(results=[_embed(face) for face in request.faces])

    def EmbedStream(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802  # gRPC's name
        for request in request_iterator:
            yield pb.EmbedStreamResponse(id=request.id, result=_embed(request.face))


def _embed(face: pb.Face) -> pb.EmbedResult:
    sys.stdout.write(f"{face.encoded.decode()}\n")
    sys.stdout.flush()
    if face.encoded == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return pb.EmbedResult(embedding=pb.Embedding(values=[1], norm=len(face.encoded)))


def main() -> None:
    """Serve until killed."""
    port = sys.argv[1] if len(sys.argv) > 1 else "0"
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pb_grpc.add_FaceEmbeddingServiceServicer_to_server(Mortal(), server)
    sys.stdout.write(f"{server.add_insecure_port(f'127.0.0.1:{port}')}\n")
    sys.stdout.flush()
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
