"""What Triton's client gets for requests good and bad, as JSON.

A program of its own: the protocol's messages have the same names in Triton's client as in ours.
"""

import json
import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as triton

TIMEOUT_S = 60
_address, MODEL, _file = sys.argv[1:]
IMAGE = Path(_file).read_bytes()
FACE = cv2.imdecode(np.frombuffer(IMAGE, np.uint8), cv2.IMREAD_COLOR)
# As bluish as a face whose red and blue are swapped.
BLUE = (FACE // (1, 1, 3)).astype(np.uint8)
CLIENT = triton.InferenceServerClient(_address)


def tensor(name: str, values: Any, datatype: str = "UINT8") -> triton.InferInput:
    return triton.InferInput(name, values.shape, datatype).set_data_from_numpy(values)


def faces(*faces: Any) -> triton.InferInput:
    return tensor("face", np.stack(faces))


def planes(*faces: Any) -> triton.InferInput:
    return tensor("data", np.stack(faces).transpose(0, 3, 1, 2).astype(np.float32), "FP32")


def images(*images: bytes) -> triton.InferInput:
    return tensor("image", np.array(images, np.object_), "BYTES")


def infer(*inputs: triton.InferInput, model: str = MODEL, **options: Any) -> dict[str, Any]:
    result = CLIENT.infer(model, list(inputs), client_timeout=TIMEOUT_S, **options)
    return described(result)


def described(result: triton.InferResult) -> dict[str, Any]:
    answer = result.get_response()
    return {
        "id": answer.id,
        "model": answer.model_name,
        "version": answer.model_version,
        "parameters": {name: each.string_param for name, each in answer.parameters.items()},
        "outputs": {
            output.name: {
                "datatype": output.datatype,
                "values": result.as_numpy(output.name).tolist(),
            }
            for output in answer.outputs
        },
    }


def stream() -> list[dict[str, Any]]:
    """Send a good, a bad and a good request over one stream."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    CLIENT.start_stream(lambda result, error: answers.put((result, error)))
    for number, face in enumerate((FACE, FACE[:100], FACE)):
        CLIENT.async_stream_infer(MODEL, [faces(face)], request_id=str(number))
    received = [answers.get(timeout=TIMEOUT_S) for _ in range(3)]
    CLIENT.stop_stream()
    return [
        {"error": error.message()} if error else described(result) for result, error in received
    ]


CASES: dict[str, Callable[[], Any]] = {
    "two": lambda: infer(faces(FACE, FACE[:, ::-1]), request_id="a"),
    "rgb": lambda: infer(faces(FACE[..., ::-1]), parameters={"channel_order": "RGB"}),
    "version": lambda: infer(
        faces(FACE), model_version=CLIENT.get_model_metadata(MODEL).versions[0]
    ),
    "raw": lambda: infer(faces(FACE), outputs=[triton.InferRequestedOutput("pre_fc1")]),
    "warned faces": lambda: infer(faces(FACE, BLUE)),
    "warned planes": lambda: infer(planes(FACE, BLUE)),
    "stream": stream,
    "ready": lambda: [CLIENT.is_model_ready(name) for name in (MODEL, "nobody")],
    "no input": infer,
    "two inputs": lambda: infer(faces(FACE), images(IMAGE)),
    "input name": lambda: infer(tensor("input", FACE[np.newaxis])),
    "dtype": lambda: infer(tensor("face", FACE[np.newaxis].astype(np.float32), "FP32")),
    "rank": lambda: infer(tensor("face", FACE)),
    "size": lambda: infer(faces(FACE[:100])),
    "planes": lambda: infer(tensor("data", FACE[np.newaxis].astype(np.float32), "FP32")),
    "not finite": lambda: infer(tensor("data", np.full((1, 3, 112, 112), np.nan, "f4"), "FP32")),
    "too many": lambda: infer(faces(*[FACE] * 5)),
    "none": lambda: infer(tensor("face", np.zeros((0, 112, 112, 3), np.uint8))),
    "unreadable": lambda: infer(images(IMAGE, b"not an image")),
    "no face": lambda: infer(
        images(cv2.imencode(".png", np.zeros((200, 200, 3), np.uint8))[1].tobytes()),
        parameters={"preparation": "detect"},
    ),
    "channel order": lambda: infer(faces(FACE), parameters={"channel_order": "GBR"}),
    "preparation": lambda: infer(images(IMAGE), parameters={"preparation": "resize"}),
    "parameter": lambda: infer(faces(FACE), parameters={"order": "RGB"}),
    "output name": lambda: infer(faces(FACE), outputs=[triton.InferRequestedOutput("fc1")]),
    "model": lambda: infer(faces(FACE), model="nobody"),
    "model version": lambda: infer(faces(FACE), model_version="1"),
}


def answer(case: Callable[[], Any]) -> Any:
    try:
        return case()
    except triton.InferenceServerException as error:
        return {"error": error.message(), "code": error.status()}


if __name__ == "__main__":
    json.dump({name: answer(case) for name, case in CASES.items()}, sys.stdout)
