"""MLServer, with a custom runtime as its documentation shows one."""

import asyncio

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import install_uvloop_event_loop
from peer import HOST, OUTPUT, Engine, announce, arguments


class Faces(MLModel):
    """A runtime that gives a tensor to the engine, and waits for it without a thread."""

    async def load(self) -> bool:
        """Compile the network."""
        self._network = Engine(**self.settings.parameters.extra)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Embed the face of a request."""
        embedding = await self._network.infer(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output(OUTPUT, embedding)
        return InferenceResponse(model_name=self.name, outputs=[output])


async def serve() -> None:
    """Serve until told to stop."""
    options = arguments()
    network = {name: getattr(options, name) for name in ("ir", "precision", "hint")}
    model = ModelSettings(
        name=options.model, implementation=Faces, parameters=ModelParameters(extra=network)
    )
    settings = Settings(
        host=HOST,
        grpc_port=announce("mlserver"),
        http_port=0,
        metrics_port=0,
        debug=False,
        # In this process, as the engine has threads of its own: others would only copy tensors.
        parallel_workers=0,
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(serve())
