"""Small weights of both formats, and manifests for them."""

import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from face_embedding_models import manifest
from face_embedding_models.manifest import Address, Download, Manifest
from face_embedding_models.mxnet import params, symbol
from face_embedding_models.mxnet.symbol import Node, Symbol
from support import MOBILE

OWN = "my-model"
EMBEDDING_SIZE = 8
SYMBOL = symbol.dump(
    Symbol((Node("null", "data"), Node("null", "w"), Node("_plus", "fc1", (0, 1))), (2,))
)


def params_of(value: float = 1) -> bytes:
    """Return an MXNet checkpoint's parameters, for `SYMBOL`."""
    return params.dump({"arg:w": np.full(3, value, np.float32)})


def onnx_of(seed: int = 0) -> bytes:
    """Return a network that embeds a face, as an ONNX file of some kilobytes."""
    values = np.random.default_rng(seed).standard_normal((3 * 4 * 4, EMBEDDING_SIZE)) / 100
    # Whatever all faces have in common, such as some light, adds nothing.
    values -= values.mean(axis=0)
    weights = numpy_helper.from_array(values.astype(np.float32), "w")
    nodes = [
        helper.make_node("AveragePool", ["data"], ["p"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["e"]),
    ]
    ends = (["N", 3, 112, 112], ["N", EMBEDDING_SIZE])
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("data", "e"), ends, strict=True)
    )
    graph = helper.make_graph(nodes, "own", [given], [made], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(onnx.ModelProto.FromString(data))
    return data


def zipped(entries: Mapping[str, bytes]) -> bytes:
    """Return an archive of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listed(name: str, data: bytes, *urls: str, **changes: object) -> Download:
    """Return what a manifest says of a file."""
    addresses = tuple(Address(url, "a test") for url in urls)
    known = Download(name, len(data), sha256(data), "published", addresses)
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


def model_of(*files: Download, archive: Download | None = None, accept: bool = False) -> Manifest:
    """Return the MobileFaceNet's manifest with other files."""
    known = manifest.load(MOBILE)
    terms = dataclasses.replace(known.license, must_be_accepted=accept)
    return dataclasses.replace(known, archive=archive, files=files, license=terms)


def own_toml(data: bytes, *urls: str, name: str = OWN, digest: bool = True, extra: str = "") -> str:
    """Return the manifest of a model of a user's own, an ONNX file."""
    addresses = "".join(f'[[files.addresses]]\nurl = "{url}"\nseen = "a test"\n' for url in urls)
    known = f'sha256 = "{sha256(data)}"\n' if digest else ""
    return f"""
name = "{name}"
description = "a model of a user's own"
format = "onnx"
[[files]]
file = "own.onnx"
{known}{addresses}
[input]
width = 112
height = 112
channel_order = "RGB"
{extra}
[output]
size = {EMBEDDING_SIZE}
[license]
name = "MIT"
terms = "Do what you like."
"""
