"""Embed an aligned face with Triton's client, as each of the model's three inputs.

Prints JSON. It needs `pip install 'tritonclient[grpc]' opencv-python-headless`, and a process of
its own: the protocol's messages have the same names in Triton's client as in the server's package.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as triton


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

    headers = {}
    if options.token_file:
        headers["authorization"] = f"Bearer {options.token_file.read_text().strip()}"
    client = triton.InferenceServerClient(
        options.address,
        ssl=options.ca is not None,
        root_certificates=options.ca,
        certificate_chain=options.certificate,
        private_key=options.key,
    )
    try:
        answer = {
            "live": client.is_server_live(headers=headers),
            "ready": client.is_server_ready(headers=headers),
            "metadata": client.get_model_metadata(options.model, headers=headers, as_json=True),
        }
        embeddings = {
            tensor.name(): embed(client, options.model, tensor, headers)
            for tensor in tensors(options.file.read_bytes())
        }
    except triton.InferenceServerException as error:
        sys.exit(f"{error.status()}: {error.message()}")
    finally:
        client.close()
    answer["embeddings"] = {name: embedding.tolist() for name, embedding in embeddings.items()}
    # They have length 1, so that their product is the cosine similarity.
    answer["cosine_to_face"] = {
        name: float(embedding @ embeddings["face"]) for name, embedding in embeddings.items()
    }
    print(json.dumps(answer))


def tensors(image: bytes) -> list[triton.InferInput]:
    """Return a face as the pixels, as the published network takes it, and as the file it is."""
    bgr = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    planes = bgr.transpose(2, 0, 1).astype(np.float32)  # 0 to 255: the network scales them itself.
    return [
        tensor("face", bgr[np.newaxis]),
        tensor("data", planes[np.newaxis]),
        tensor("image", np.array([image], np.object_)),
    ]


def tensor(name: str, values: Any) -> triton.InferInput:
    """Return an input with its values."""
    datatype = {"face": "UINT8", "data": "FP32", "image": "BYTES"}[name]
    return triton.InferInput(name, values.shape, datatype).set_data_from_numpy(values)


def embed(
    client: triton.InferenceServerClient,
    model: str,
    face: triton.InferInput,
    headers: dict[str, str],
) -> Any:
    """Return the embedding of one face, float32 `[size]`, of length 1."""
    wanted = [triton.InferRequestedOutput("embedding")]
    result = client.infer(model, [face], outputs=wanted, headers=headers, client_timeout=30)
    return result.as_numpy("embedding")[0]


if __name__ == "__main__":
    main()
