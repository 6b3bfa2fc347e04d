"""Write the corpus that fuzzing begins with: `PYTHONPATH=tests python tests/fuzz/fuzz_seeds.py`."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
from fuzz_targets import pack

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from support import encode
from support.made_weights import SYMBOL, params_of

CORPUS = Path(__file__).parent / "corpus"
_SIDE = 112
# No photographs: a few colours, and one grey slope in the size of a face.
_COLOURS = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)
_SLOPE = np.repeat(np.arange(_SIDE, dtype=np.uint8)[None, :, None], _SIDE, 0).repeat(3, 2)
_FACE = encode(_SLOPE)
_POINTS = {
    name: pb.Point(x=x, y=y)
    for name, x, y in (
        ("left_eye", 2, 2), ("right_eye", 7, 2), ("nose", 5, 3), ("left_mouth", 3, 4),
        ("right_mouth", 6, 4),
    )
}  # fmt: skip


def _images() -> Mapping[str, bytes]:
    suffixes = {
        suffix[1:]: encode(_COLOURS, suffix) for suffix in (".png", ".jpg", ".webp", ".avif")
    }
    progressive = cv2.imencode(".jpg", _COLOURS, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    lossless = cv2.imencode(".webp", _COLOURS, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    body = b"VP8X\x0a\0\0\0\x08\0\0\0\x09\0\0\x05\0\0" + lossless[12:]
    body += b"EXIF" + len(exif).to_bytes(4, "little") + exif
    extended = b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body
    others = {"progressive.jpg": progressive, "lossless.webp": lossless, "turned.webp": extended}
    heic = io.BytesIO()
    pillow_heif.from_bytes("BGR", _COLOURS.shape[1::-1], _COLOURS.tobytes()).save(heic)
    return {**suffixes, **others, "heic": heic.getvalue()}


def _checkpoints() -> Mapping[str, bytes]:
    norm = {"op": "BatchNorm", "name": "bn", "param": {"eps": "0.1"}, "inputs": [[0, 0]] * 3}
    oldest = {"nodes": [{"op": "null", "name": "data"}, norm], "heads": [[1, 0]]}
    return {
        "current": pack(SYMBOL, params_of()),
        "oldest": pack(json.dumps(oldest).encode(), params_of()),
    }


def _requests() -> Mapping[str, bytes]:
    raw = pb.RawImage(data=bytes(12), width=2, height=2, channel_order=pb.CHANNEL_ORDER_RGB)
    landmarks = pb.Landmarks(**_POINTS)
    aligned = pb.Face(encoded=_FACE, aligned=pb.Aligned())
    embedding = pb.Embedding(values=[1, 2, 3, 4], space="space")
    infer = oip.ModelInferRequest(raw_input_contents=[_SLOPE.tobytes()])
    infer.inputs.add(name="face", datatype="UINT8", shape=[1, _SIDE, _SIDE, 3])
    files = oip.ModelInferRequest()
    files.parameters["preparation"].string_param = "aligned"
    image = files.inputs.add(name="image", datatype="BYTES", shape=[1])
    image.contents.bytes_contents.append(_FACE)
    messages = {
        "aligned": (0, pb.EmbedRequest(faces=[aligned])),
        "raw": (0, pb.EmbedRequest(faces=[pb.Face(raw=raw, landmarks=landmarks)])),
        "landmarks": (
            0,
            pb.EmbedRequest(faces=[pb.Face(encoded=encode(_COLOURS), landmarks=landmarks)]),
        ),
        "compare": (
            1,
            pb.CompareRequest(
                first=pb.CompareSide(embedding=embedding), second=pb.CompareSide(face=aligned)
            ),
        ),
        "tensor": (2, infer),
        "files": (2, files),
    }
    return {
        name: bytes([method]) + message.SerializeToString()
        for name, (method, message) in messages.items()
    }


def main() -> None:
    """Write the files, each under its name in the folder of its target."""
    seeds = {"image_header": _images(), "checkpoint": _checkpoints(), "request": _requests()}
    for target, files in seeds.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
