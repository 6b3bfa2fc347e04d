"""From answers to Python values. Both clients are thin shells around this module."""

import dataclasses
from typing import Any, TypeAlias, TypeVar

import grpc
import numpy as np

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _errors
from face_embedding_client._errors import FaceEmbeddingError, ServerError
from face_embedding_client._types import (
    Box,
    Comparison,
    Detection,
    Detections,
    Drift,
    EmbeddedFaces,
    Embedding,
    FaceWarning,
    Landmarks,
    ModelInfo,
    ModelSummary,
    OperatingPoint,
    PreparedFace,
)

T = TypeVar("T")
_Prepared: TypeAlias = pb.EmbedResult | pb.EmbeddedFace | pb.PreparedFace


def embedding_or_error(
    result: pb.EmbedResult, model_version: str
) -> Embedding | FaceEmbeddingError:
    """Return what became of a face at a version of the model."""
    outcome = result.WhichOneof("outcome")
    if outcome == "embedding":
        return _embedding(result, model_version, result.faces_found)
    if outcome == "error":
        return _errors.from_status(result.error)
    return _unknown_outcome()


def stream_item(response: pb.EmbedStreamResponse) -> tuple[str, Embedding | FaceEmbeddingError]:
    """Return the id of an item of a stream and what became of it."""
    return response.id, embedding_or_error(response.result, response.model_version)


def embeddings(result: pb.EmbedResult, model_version: str) -> EmbeddedFaces:
    """Return the faces of an image of which all were wanted."""
    if result.WhichOneof("outcome") != "faces":
        raise _unknown_outcome()
    faces, found = result.faces.faces, result.faces_found
    return EmbeddedFaces(
        (_embedding(face, model_version, found) for face in faces),
        # An earlier server says nothing of it.
        found or len(faces),
        result.faces_missing,
    )


def _unknown_outcome() -> FaceEmbeddingError:
    """Return the error of an answer of a contract that is later or earlier than this client's."""
    return ServerError(
        "the server's answer for the face is of a kind that was not asked for or that this client "
        "does not know; is one of them of another version?",
        "",
        "",
        grpc.StatusCode.UNKNOWN,
    )


def _embedding(
    face: pb.EmbedResult | pb.EmbeddedFace, model_version: str, faces_found: int
) -> Embedding:
    message = face.embedding
    return Embedding(
        np.array(message.values, np.float32),
        message.norm,
        message.space,
        _detection_if_any(face),
        _warnings(face),
        model_version,
        message.precision,
        faces_found,
    )


def detections(response: pb.DetectResponse) -> Detections:
    """Return the faces of an image."""
    return Detections(
        tuple(_detection(message) for message in response.detections),
        response.width,
        response.height,
    )


def _detection_if_any(prepared: _Prepared) -> Detection | None:
    return _detection(prepared.detection) if prepared.HasField("detection") else None


def _detection(message: pb.Detection) -> Detection:
    points = (getattr(message.landmarks, name) for name in _names(Landmarks))
    landmarks = Landmarks(*((point.x, point.y) for point in points))
    return Detection(
        _same_fields(Box, message.box), landmarks, message.score, message.turned_degrees
    )


def _warnings(prepared: _Prepared) -> tuple[FaceWarning, ...]:
    return tuple(
        FaceWarning(_enum_name(pb.WarningReason, message.reason), message.value, message.limit)
        for message in prepared.warnings
    )


def comparison(response: pb.CompareResponse) -> Comparison:
    """Return the result of a comparison."""
    matches = {pb.DECISION_MATCH: True, pb.DECISION_NO_MATCH: False}
    decided = response.decision != pb.DECISION_UNSPECIFIED
    return Comparison(
        cosine_similarity=response.cosine_similarity,
        match=matches.get(response.decision),
        threshold=_optional(response, "threshold"),
        space=response.space,
        decision=_enum_name(pb.Decision, response.decision) if decided else None,
        expected_false_match_rate=_optional(response, "expected_false_match_rate"),
        first=_prepared_face(response, "first"),
        second=_prepared_face(response, "second"),
        model_version=response.model_version,
    )


def _optional(response: pb.CompareResponse, field: str) -> float | None:
    return getattr(response, field) if response.HasField(field) else None


def _prepared_face(response: pb.CompareResponse, field: str) -> PreparedFace | None:
    if not response.HasField(field):
        return None
    message = getattr(response, field)
    return PreparedFace(_detection_if_any(message), _warnings(message), message.faces_found)


def model_info(response: pb.GetModelInfoResponse) -> ModelInfo:
    """Return the description of a model."""
    limits = response.limits
    return ModelInfo(
        name=response.name,
        backend=response.backend,
        backend_version=response.backend_version,
        device=response.device,
        precision=response.precision,
        channel_order=_enum_name(pb.ChannelOrder, response.channel_order),
        input_width=response.input_width,
        input_height=response.input_height,
        embedding_size=response.embedding_size,
        embedding_space=response.embedding_space,
        weights_sha256=response.weights_sha256,
        weights_origin=_enum_name(pb.WeightsOrigin, response.weights_origin),
        weights_note=response.weights_note,
        license_note=response.license_note,
        max_faces_per_request=limits.max_faces_per_request,
        max_message_bytes=limits.max_message_bytes,
        max_encoded_bytes=limits.max_encoded_bytes,
        max_stream_in_flight=limits.max_stream_in_flight,
        max_image_pixels=limits.max_image_pixels,
        drift=_same_fields(Drift, response.drift) if response.HasField("drift") else None,
        detector=response.detector,
        operating_points=tuple(map(_operating_point, response.operating_points)),
        model_version=response.model_version,
        served_models=tuple(response.served_models),
        precision_reason=response.precision_reason,
    )


def model_summaries(response: pb.ListModelsResponse) -> list[ModelSummary]:
    """Return the served models."""
    return [
        dataclasses.replace(
            _same_fields(ModelSummary, message),
            weights_origin=_enum_name(pb.WeightsOrigin, message.weights_origin),
        )
        for message in response.models
    ]


def _operating_point(message: pb.OperatingPoint) -> OperatingPoint:
    return dataclasses.replace(
        _same_fields(OperatingPoint, message),
        selection=_enum_name(pb.FaceSelection, message.selection) if message.selection else "",
        upright=_enum_name(pb.Upright, message.upright) if message.upright else "",
    )


def _same_fields(kind: type[T], message: Any) -> T:
    """Return a message as the dataclass that has the same fields."""
    return kind(**{name: getattr(message, name) for name in _names(kind)})


def _names(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _enum_name(kind: Any, number: int) -> str:
    """Return an enumeration's value without its prefix; one of a newer contract as its number."""
    if number not in kind.values():
        return str(number)
    name: str = kind.Name(number)
    return name.removeprefix(kind.Name(0).removesuffix("UNSPECIFIED"))
