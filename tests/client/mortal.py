"""A program: a server that is killed by every face that is `POISON`, as by kill -9.

It holds back its answers until it has as many faces as its first argument says, writes its port, and
then, a line each, the faces that it takes.
"""

import os
import signal
import sys
import threading
from concurrent import futures
from typing import Any

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc

POISON = b"poison"
MAX_FACES = 4


class Mortal(pb_grpc.FaceEmbeddingServiceServicer):
    """Answers each face with the number of its bytes as its norm."""

    def __init__(self, held_back: int) -> None:
        self.held_back = held_back
        self.taken = 0
        self.enough = threading.Condition()

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        limits = pb.Limits(
            max_encoded_bytes=1 << 20,
            max_message_bytes=1 << 20,
            max_faces_per_request=MAX_FACES,
            max_stream_in_flight=MAX_FACES,
        )
        return pb.GetModelInfoResponse(limits=limits)

    def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        return pb.EmbedResponse(results=[self.embed(face) for face in request.faces])

    def EmbedStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        with futures.ThreadPoolExecutor(MAX_FACES) as threads:
            done = [(r.id, threads.submit(self.embed, r.face)) for r in request_iterator]
            for name, result in done:
                yield pb.EmbedStreamResponse(id=name, result=result.result())

    def embed(self, face: pb.Face) -> pb.EmbedResult:
        print(face.encoded.decode(), flush=True)
        if face.encoded == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return pb.EmbedResult(embedding=pb.Embedding(values=[1], norm=len(face.encoded)))


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pb_grpc.add_FaceEmbeddingServiceServicer_to_server(Mortal(0), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
