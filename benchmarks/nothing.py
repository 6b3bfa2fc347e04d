"""A server of grpcio that does nothing: it answers every call with the same bytes."""

import signal
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb

THREADS = 16


def main() -> None:
    """Serve until told to stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    values = np.linspace(-1, 1, 128).tolist()
    result = pb.EmbedResult(embedding=pb.Embedding(values=values, space="none"))
    answer = pb.EmbedResponse(results=[result]).SerializeToString()
    embed = grpc.unary_unary_rpc_method_handler(lambda *_: answer)
    service = "face_embedding.v1.FaceEmbeddingService"
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Embed": embed}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"nothing on 127.0.0.1:{port} ", flush=True)
    signal.sigwait([signal.SIGTERM])
    server.stop(0).wait()


if __name__ == "__main__":
    main()
