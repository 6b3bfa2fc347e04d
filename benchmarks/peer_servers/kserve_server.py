"""KServe's Python server for gRPC, with a custom model as its documentation shows one."""

import asyncio

import uvloop
from grpc.aio import _server as grpc_server
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.protocol.grpc.server import GRPCServer
from peer import HOST, OUTPUT, Engine, announce, arguments


class Faces(Model):
    """A model that gives a tensor to the engine, and waits for it without a thread."""

    def __init__(self, name: str, network: Engine) -> None:
        super().__init__(name)
        self._network = network
        self.ready = True

    async def predict(self, payload: InferRequest, *_: object) -> InferResponse:
        """Embed the face of a request."""
        embedding = await self._network.infer(payload.inputs[0].as_numpy())
        output = InferOutput(OUTPUT, list(embedding.shape), "FP32")
        output.set_data_from_numpy(embedding, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


def main() -> None:
    """Serve until told to stop."""
    options = arguments()
    faces = Faces(options.model, Engine(options.ir, options.precision, options.hint))
    keep_to_loopback()
    port = announce("kserve")
    server = ModelServer()
    server.register_model(faces)
    rpc = GRPCServer(
        port,
        server.dataplane,
        server.model_repository_extension,
        kwargs=vars(model_server.args),
    )
    uvloop.install()
    asyncio.run(rpc.start(server.max_threads))


def keep_to_loopback() -> None:
    """Have gRPC listen where nobody else gets at it, for which KServe has no option."""
    listen = grpc_server.Server.add_insecure_port

    def add_insecure_port(self: grpc_server.Server, address: str) -> int:
        return listen(self, address.replace("[::]", HOST))

    grpc_server.Server.add_insecure_port = add_insecure_port


if __name__ == "__main__":
    main()
