"""From an ONNX file to an OpenVINO model, by OpenVINO's own reader.

The model takes what the one made of an MXNet checkpoint takes (see `conversion`): `data`, f32 NCHW
`[?,3,H,W]`, 0 to 255, channels **BGR**. The channel order, the mean and the scale of the manifest
become part of the graph, which computes in float whatever the file's type is. Where the file fixes
the batch at one and its graph depends on that, the batch stays one.
"""

import io
import re
from pathlib import Path

import openvino as ov
from openvino._offline_transformations import apply_moc_transformations
from openvino.preprocess import PrePostProcessor

from face_embedding_models.errors import ConversionError, UnsupportedOperatorError
from face_embedding_models.manifest import Manifest
from face_embedding_models.onnx import form, graph

INPUT_NAME = "data"
# As OpenVINO says it, since 2026 and before.
_UNSUPPORTED = re.compile(
    r"(?:No conversion rule found for operations|"
    r"OpenVINO does not support the following ONNX operations):\s*(.+)"
)
_FAILED = "-- Conversion is failed for: "


def convert(path: Path, manifest: Manifest) -> ov.Model:
    """Convert an ONNX file.

    Args:
        path: the file.
        manifest: what is known of it.

    Returns:
        A model with the input `data` and the output `manifest.output.ir_name`.

    Raises:
        UnsupportedOperatorError: for an operator that OpenVINO does not have; the message names it.
        ConversionError: if the file is no ONNX, or the network is not what the manifest describes.
    """
    read = graph.read(path)
    fed = graph.input_of(read, manifest.input)
    given = graph.output_of(read, manifest.output)
    network = _read_by_openvino(form.at_f32(path.read_bytes()))
    network = ov.Model([_source_of(network, given)], network.get_parameters(), manifest.name)
    _set_batch(network, fed, manifest)
    return _with_bgr_input(network, manifest)


def _read_by_openvino(data: bytes) -> ov.Model:
    try:
        return ov.Core().read_model(io.BytesIO(data))
    except RuntimeError as error:
        if unsupported := _UNSUPPORTED.search(str(error)):
            raise UnsupportedOperatorError(
                f"OpenVINO does not have the operators {unsupported[1].strip():.200}"
            ) from error
        raise ConversionError(f"OpenVINO cannot read the network: {_reason_of(error)}") from error


def _source_of(network: ov.Model, name: str) -> ov.Output:
    """Return what gives the output of this name."""
    try:
        return network.output(name).node.input_value(0)
    except RuntimeError as error:
        raise ConversionError(f"OpenVINO loses the output '{name}': {_reason_of(error)}") from error


def _set_batch(network: ov.Model, name: str, manifest: Manifest) -> None:
    """Free the network's batch, or fix it at one where the graph needs that."""
    face = [3, manifest.input.height, manifest.input.width]
    shapes = []
    for batch in (-1, 1):
        try:
            network.reshape({name: ov.PartialShape([batch, *face])})
        except RuntimeError as error:
            if batch == 1:
                raise ConversionError(
                    f"the network does not take one face, [1, 3, {face[1]}, {face[2]}]: "
                    f"{_reason_of(error)}"
                ) from error
            continue
        kind = network.output(0).get_element_type()
        if not kind.is_real():
            raise ConversionError(
                f"the output '{network.output(0).any_name}' is of the type {kind.to_string()}, "
                f"not float"
            )
        shape = network.output(0).get_partial_shape()
        if shape == ov.PartialShape([batch, manifest.output.size]):
            return
        shapes.append(shape)
    raise ConversionError(
        f"the output '{network.output(0).any_name}' has the shape {shapes[0]}; the manifest says "
        f"[?,{manifest.output.size}]"
    )


def _with_bgr_input(network: ov.Model, manifest: Manifest) -> ov.Model:
    """Put the channel order, the mean and the scale of the manifest into the graph."""
    given = manifest.input
    processor = PrePostProcessor(network)
    processor.input().tensor().set_element_type(ov.Type.f32).set_layout(ov.Layout("NCHW"))
    processor.input().model().set_layout(ov.Layout("NCHW"))
    steps = processor.input().preprocess()
    if given.channel_order == "RGB":
        steps.reverse_channels()
    if given.mean:
        steps.mean(given.mean)
    if given.scale != 1:
        steps.scale(given.scale)
    processor.output().tensor().set_element_type(ov.Type.f32)
    network = processor.build()
    # What OpenVINO's own converter does too. NNCF quantizes filters as they are in the IR, so that
    # a normalisation has to be in them by then: int8 kept a cosine of 0.955 else, and 0.996 so.
    apply_moc_transformations(network, cf=True)
    network.input().get_node().set_friendly_name(INPUT_NAME)
    network.input().set_names({INPUT_NAME})
    network.output().set_names({manifest.output.ir_name})
    network.output().get_node().input_value(0).get_node().set_friendly_name(manifest.output.ir_name)
    return network


def _reason_of(error: Exception) -> str:
    """Return the end of an error of OpenVINO, where its reason stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and lines[-1].startswith(_FAILED):
        # A summary, with the operators, behind what went wrong with them.
        return f"{lines[-1].removeprefix(_FAILED):.100}: {lines[-3]:.300}"
    return lines[-1][:300] if lines else type(error).__name__
