"""Between the contract's messages and the domain, once on the way in and once on the way out."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models.manifest import ChannelOrder
from face_embedding_server.errors import Reason, Refusal
from face_embedding_server.faces.detectors import Detection
from face_embedding_server.faces.face import (
    LANDMARKS,
    Aligned,
    Detect,
    EncodedImage,
    Face,
    Picture,
    Points,
    Preparation,
    RawImage,
    Selection,
    WithLandmarks,
)
from face_embedding_server.faces.images import CHANNELS
from face_embedding_server.faces.quality import QualityWarning
from face_embedding_server.inference.model import EmbeddedFace, ModelInfo
from face_embedding_server.inference.operating_points import Calibration, Decision
from face_embedding_server.settings import Settings

_CHANNEL_ORDERS: dict[pb.ChannelOrder, ChannelOrder] = {
    pb.CHANNEL_ORDER_RGB: "RGB",
    pb.CHANNEL_ORDER_BGR: "BGR",
}
_NORMALIZATIONS = frozenset(pb.Normalization.values())
_SELECTIONS = {
    pb.FACE_SELECTION_UNSPECIFIED: Selection.ONLY,
    pb.FACE_SELECTION_ONLY: Selection.ONLY,
    pb.FACE_SELECTION_LARGEST: Selection.LARGEST,
    pb.FACE_SELECTION_CENTRAL: Selection.CENTRAL,
    pb.FACE_SELECTION_ALL: Selection.ALL,
}

# Made once, as most faces are one of these.
_ALIGNED, _CHECKED = Aligned(), Aligned(check_alignment=True)
_UPRIGHT = {pb.UPRIGHT_UNSPECIFIED: False, pb.UPRIGHT_AS_IS: False, pb.UPRIGHT_AUTO: True}


def face_of(message: pb.Face) -> Face:
    """Return the face of a message.

    Raises:
        Refusal: if it lacks something, or says something that means nothing.
    """
    return Face(preparation=_preparation_of(message), image=picture_of(message))


def picture_of(message: pb.Face | pb.DetectRequest) -> Picture:
    """Return the image of a message.

    Raises:
        Refusal: if there is none, or its pixels are not as many as it says.
    """
    kind = message.WhichOneof("image")
    if kind == "encoded":
        return EncodedImage(message.encoded)
    if kind == "raw":
        return _raw_of(message.raw)
    raise Refusal(Reason.FIELD_MISSING, "there is no image: set 'encoded' or 'raw'", "image")


def is_upright(upright: pb.Upright, field: str) -> bool:
    """Return whether a photograph is turned where it seems to be sideways.

    Raises:
        Refusal: if what is said of it is not known; it blames the field.
    """
    if upright not in _UPRIGHT:
        raise Refusal(Reason.UPRIGHT, f"{upright} is not an Upright", field)
    return _UPRIGHT[upright]


def is_raw(normalization: pb.Normalization) -> bool:
    """Return whether the raw embedding is wanted.

    Raises:
        Refusal: if the normalization is not known.
    """
    if normalization not in _NORMALIZATIONS:
        raise Refusal(
            Reason.NORMALIZATION, f"{normalization} is not a Normalization", "normalization"
        )
    return normalization == pb.NORMALIZATION_NONE


def result_of(
    faces: list[EmbeddedFace], model: ModelInfo, *, raw: bool, several: bool
) -> pb.EmbedResult:
    """Return what became of a face of a request.

    Args:
        faces: the faces that it stands for.
        model: what embedded them.
        raw: whether the raw embedding is wanted.
        several: whether any number of faces was asked for.
    """
    embedded = [
        {"embedding": _embedding(each, model, raw=raw), **fields_of(each)} for each in faces
    ]
    found = faces[0].faces_found
    if several:
        return pb.EmbedResult(
            faces=pb.EmbeddedFaces(faces=[pb.EmbeddedFace(**each) for each in embedded]),
            faces_found=found,
            faces_missing=found - len(faces),
        )
    return pb.EmbedResult(**embedded[0], faces_found=found)


def fields_of(face: EmbeddedFace) -> dict[str, Any]:
    """Return the fields that say how a face was prepared."""
    fields: dict[str, Any] = {}
    if face.warnings:
        fields["warnings"] = [_warning(each) for each in face.warnings]
    if face.detection:
        fields["detection"] = _detection(face.detection)
    return fields


def detections(found: Iterable[Detection]) -> list[pb.Detection]:
    """Return faces that were found."""
    return [_detection(each) for each in found]


def decision(made: Decision) -> str:
    """Return the contract's name of a decision."""
    return f"DECISION_{made.name}"


def info(model: ModelInfo, settings: Settings, served: list[str]) -> pb.GetModelInfoResponse:
    """Return the description of a model, with the limits of the server and its other models."""
    engine, terms = model.engine, model.license
    stated = f" ({terms.stated_at})" if terms.stated_at else ""
    return pb.GetModelInfoResponse(
        name=model.name,
        backend=engine.name,
        backend_version=engine.version,
        device=engine.device,
        precision=engine.precision,
        channel_order=f"CHANNEL_ORDER_{engine.channel_order}",
        input_width=model.input_size.width,
        input_height=model.input_size.height,
        embedding_size=model.space.size,
        embedding_space=model.space.id,
        model_version=model.model_version,
        weights_sha256=model.weights_sha256,
        weights_origin=_origin(model),
        weights_note=model.weights_note,
        license_note=f"{terms.name}: {terms.terms}{stated}",
        limits=pb.Limits(
            max_faces_per_request=settings.max_faces_per_request,
            max_message_bytes=settings.max_message_bytes,
            max_encoded_bytes=settings.max_encoded_bytes,
            max_stream_in_flight=settings.max_stream_in_flight,
            max_image_pixels=settings.max_image_pixels,
        ),
        detector=model.detector,
        operating_points=_operating_points(model.calibration),
        drift=pb.Drift(**asdict(model.drift)) if model.drift else None,
        served_models=served,
        precision_reason=model.precision_reason,
    )


def summary(model: ModelInfo, default: str) -> pb.ModelSummary:
    """Return what tells a model from others, with the name of the default one."""
    return pb.ModelSummary(
        name=model.name,
        is_default=model.name == default,
        model_version=model.model_version,
        embedding_space=model.space.id,
        embedding_size=model.space.size,
        precision=model.engine.precision,
        weights_origin=_origin(model),
    )


def _origin(model: ModelInfo) -> str:
    return f"WEIGHTS_ORIGIN_{model.origin.upper()}"


def _operating_points(calibration: Calibration | None) -> list[pb.OperatingPoint]:
    if calibration is None:
        return []
    selection, upright = calibration.selection, calibration.upright
    return [
        pb.OperatingPoint(
            **asdict(each),
            detector=calibration.detector,
            selection=f"FACE_SELECTION_{selection.upper()}" if selection else None,
            upright=f"UPRIGHT_{upright.upper()}" if upright else None,
        )
        for each in calibration.operating_points
    ]


def _preparation_of(message: pb.Face) -> Preparation:
    kind = message.WhichOneof("preparation")
    if kind == "aligned":
        return _CHECKED if message.aligned.check_alignment else _ALIGNED
    if kind == "landmarks":
        return WithLandmarks(_points(message.landmarks))
    if kind == "detect":
        selection = message.detect.selection
        if selection not in _SELECTIONS:
            raise Refusal(
                Reason.FACE_SELECTION, f"{selection} is not a FaceSelection", "detect.selection"
            )
        return Detect(_SELECTIONS[selection], is_upright(message.detect.upright, "detect.upright"))
    raise Refusal(
        Reason.FIELD_MISSING,
        "say how the face is prepared: set 'aligned' if the image is the aligned face, "
        "'landmarks' or 'detect' if it is a photograph",
        "preparation",
    )


def _raw_of(raw: pb.RawImage) -> RawImage:
    order = _CHANNEL_ORDERS.get(raw.channel_order)
    if order is None:
        raise Refusal(
            Reason.CHANNEL_ORDER,
            "say whether the pixels are RGB or BGR: it is never guessed",
            "raw.channel_order",
        )
    expected = raw.width * raw.height * CHANNELS
    if len(raw.data) != expected:
        raise Refusal(
            Reason.RAW_SIZE,
            f"{raw.width}×{raw.height} pixels of 3 channels are {expected:,} bytes, "
            f"there are {len(raw.data):,}",
            "raw.data",
        )
    pixels = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, CHANNELS)
    return RawImage(pixels, order)


def _points(landmarks: pb.Landmarks) -> Points:
    for name in LANDMARKS:
        if not landmarks.HasField(name):
            raise Refusal(
                Reason.LANDMARKS_INVALID,
                f"these are not the landmarks of a face: '{name}' is missing",
                f"landmarks.{name}",
            )
    points = [getattr(landmarks, name) for name in LANDMARKS]
    return np.array([(point.x, point.y) for point in points], np.float64)


def _embedding(face: EmbeddedFace, model: ModelInfo, *, raw: bool) -> pb.Embedding:
    values = face.raw if raw else face.raw / np.float32(face.norm)
    return pb.Embedding(
        values=values.tolist(), norm=face.norm, space=model.space.id, precision=model.precision
    )


def _warning(found: QualityWarning) -> pb.Warning:
    reason = f"WARNING_REASON_{found.reason.name}"
    return pb.Warning(reason=reason, value=found.value, limit=found.limit)


def _detection(found: Detection) -> pb.Detection:
    points = [pb.Point(x=x, y=y) for x, y in found.landmarks.tolist()]
    return pb.Detection(
        box=pb.Box(**asdict(found.box)),
        landmarks=pb.Landmarks(**dict(zip(LANDMARKS, points, strict=True))),
        score=found.score,
        turned_degrees=found.turned_degrees,
    )
