"""Embed an aligned face with KServe's client, as pixels and as the file it is.

Prints JSON. It needs `pip install kserve==0.21.0`, in an environment of its own: what that needs is
not what the server does.
"""

import argparse
import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput
from PIL import Image


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the model's name")
    parser.add_argument("file", type=Path, help="an aligned face, an image file")
    parser.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT")
    parser.add_argument("--ca", help="PEM file of who signed the server's certificate")
    parser.add_argument("--certificate", help="PEM file of this client's certificate")
    parser.add_argument("--key", help="PEM file of its key")
    parser.add_argument("--token-file", type=Path)
    options = parser.parse_args()
    if options.token_file and not options.ca:
        parser.error("a token needs TLS: --ca")
    try:
        answer = asyncio.run(run(options))
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
    print(json.dumps(answer))


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make the calls, and return what was answered."""
    headers = []
    if options.token_file:
        headers.append(("authorization", f"Bearer {options.token_file.read_text().strip()}"))
    client = InferenceGRPCClient(
        options.address,
        use_ssl=options.ca is not None,
        root_certificates=options.ca,
        certificate_chain=options.certificate,
        private_key=options.key,
        timeout=30,
    )
    image = options.file.read_bytes()
    rgb = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    async with client:
        return {
            "live": await client.is_server_live(headers=headers),
            "ready": await client.is_server_ready(headers=headers),
            "model_ready": await client.is_model_ready(options.model, headers=headers),
            "embeddings": {
                "face": await embed(
                    client,
                    options.model,
                    tensor("face", "UINT8", rgb[np.newaxis]),
                    {"channel_order": "RGB"},
                    headers,
                ),
                "image": await embed(
                    client,
                    options.model,
                    tensor("image", "BYTES", np.array([image], np.object_)),
                    {"preparation": "aligned"},
                    headers,
                ),
            },
        }


def tensor(name: str, datatype: str, values: Any) -> InferInput:
    """Return an input with its values."""
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


async def embed(
    client: InferenceGRPCClient,
    model: str,
    face: InferInput,
    parameters: dict[str, str],
    headers: list[tuple[str, str]],
) -> list[float]:
    """Return the embedding of one face, of length 1."""
    request = InferRequest(
        model, [face], parameters=parameters, request_outputs=[RequestedOutput("embedding")]
    )
    (output,) = (await client.infer(request, headers=headers)).outputs
    values: list[float] = output.as_numpy()[0].tolist()
    return values


if __name__ == "__main__":
    main()
