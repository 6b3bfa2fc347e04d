from google.api import annotations_pb2 as _annotations_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChannelOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANNEL_ORDER_UNSPECIFIED: _ClassVar[ChannelOrder]
    CHANNEL_ORDER_RGB: _ClassVar[ChannelOrder]
    CHANNEL_ORDER_BGR: _ClassVar[ChannelOrder]

class Normalization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NORMALIZATION_UNSPECIFIED: _ClassVar[Normalization]
    NORMALIZATION_L2: _ClassVar[Normalization]
    NORMALIZATION_NONE: _ClassVar[Normalization]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_MATCH: _ClassVar[Decision]
    DECISION_NO_MATCH: _ClassVar[Decision]
    DECISION_UNDECIDED: _ClassVar[Decision]

class FaceSelection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACE_SELECTION_UNSPECIFIED: _ClassVar[FaceSelection]
    FACE_SELECTION_ONLY: _ClassVar[FaceSelection]
    FACE_SELECTION_LARGEST: _ClassVar[FaceSelection]
    FACE_SELECTION_ALL: _ClassVar[FaceSelection]
    FACE_SELECTION_CENTRAL: _ClassVar[FaceSelection]

class Upright(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPRIGHT_UNSPECIFIED: _ClassVar[Upright]
    UPRIGHT_AS_IS: _ClassVar[Upright]
    UPRIGHT_AUTO: _ClassVar[Upright]

class WarningReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_REASON_UNSPECIFIED: _ClassVar[WarningReason]
    WARNING_REASON_SMALL: _ClassVar[WarningReason]
    WARNING_REASON_BLURRED: _ClassVar[WarningReason]
    WARNING_REASON_NOT_FRONTAL: _ClassVar[WarningReason]
    WARNING_REASON_DARK: _ClassVar[WarningReason]
    WARNING_REASON_BRIGHT: _ClassVar[WarningReason]
    WARNING_REASON_LOW_NORM: _ClassVar[WarningReason]
    WARNING_REASON_LANDMARKS: _ClassVar[WarningReason]
    WARNING_REASON_CHANNEL_ORDER: _ClassVar[WarningReason]
    WARNING_REASON_TURNED: _ClassVar[WarningReason]
    WARNING_REASON_UNSURE: _ClassVar[WarningReason]
    WARNING_REASON_MISALIGNED: _ClassVar[WarningReason]

class WeightsOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHTS_ORIGIN_UNSPECIFIED: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_PUBLISHED: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_UNVERIFIED: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_SYNTHETIC: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_CORROBORATED: _ClassVar[WeightsOrigin]

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_NO_FACES: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_MANY_FACES: _ClassVar[ErrorReason]
    ERROR_REASON_FIELD_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_UNREADABLE: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_SIZE: _ClassVar[ErrorReason]
    ERROR_REASON_RAW_SIZE: _ClassVar[ErrorReason]
    ERROR_REASON_CHANNEL_ORDER: _ClassVar[ErrorReason]
    ERROR_REASON_NORMALIZATION: _ClassVar[ErrorReason]
    ERROR_REASON_EMBEDDING_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_EMBEDDING_SPACE: _ClassVar[ErrorReason]
    ERROR_REASON_THRESHOLD: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_LOADING: _ClassVar[ErrorReason]
    ERROR_REASON_STOPPING: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_MALFORMED: _ClassVar[ErrorReason]
    ERROR_REASON_NO_FACE_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_SEVERAL_FACES: _ClassVar[ErrorReason]
    ERROR_REASON_FACE_SELECTION: _ClassVar[ErrorReason]
    ERROR_REASON_LANDMARKS_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_NO_DETECTOR: _ClassVar[ErrorReason]
    ERROR_REASON_OPERATING_POINT_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_CREDENTIALS_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_CREDENTIALS_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_CREDENTIALS_EXPIRED: _ClassVar[ErrorReason]
    ERROR_REASON_PERMISSION: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_VERSION: _ClassVar[ErrorReason]
    ERROR_REASON_TENSOR: _ClassVar[ErrorReason]
    ERROR_REASON_ABANDONED: _ClassVar[ErrorReason]
    ERROR_REASON_OVERLOADED: _ClassVar[ErrorReason]
    ERROR_REASON_CALLER_SILENT: _ClassVar[ErrorReason]
    ERROR_REASON_UPRIGHT: _ClassVar[ErrorReason]
CHANNEL_ORDER_UNSPECIFIED: ChannelOrder
CHANNEL_ORDER_RGB: ChannelOrder
CHANNEL_ORDER_BGR: ChannelOrder
NORMALIZATION_UNSPECIFIED: Normalization
NORMALIZATION_L2: Normalization
NORMALIZATION_NONE: Normalization
DECISION_UNSPECIFIED: Decision
DECISION_MATCH: Decision
DECISION_NO_MATCH: Decision
DECISION_UNDECIDED: Decision
FACE_SELECTION_UNSPECIFIED: FaceSelection
FACE_SELECTION_ONLY: FaceSelection
FACE_SELECTION_LARGEST: FaceSelection
FACE_SELECTION_ALL: FaceSelection
FACE_SELECTION_CENTRAL: FaceSelection
UPRIGHT_UNSPECIFIED: Upright
UPRIGHT_AS_IS: Upright
UPRIGHT_AUTO: Upright
WARNING_REASON_UNSPECIFIED: WarningReason
WARNING_REASON_SMALL: WarningReason
WARNING_REASON_BLURRED: WarningReason
WARNING_REASON_NOT_FRONTAL: WarningReason
WARNING_REASON_DARK: WarningReason
WARNING_REASON_BRIGHT: WarningReason
WARNING_REASON_LOW_NORM: WarningReason
WARNING_REASON_LANDMARKS: WarningReason
WARNING_REASON_CHANNEL_ORDER: WarningReason
WARNING_REASON_TURNED: WarningReason
WARNING_REASON_UNSURE: WarningReason
WARNING_REASON_MISALIGNED: WarningReason
WEIGHTS_ORIGIN_UNSPECIFIED: WeightsOrigin
WEIGHTS_ORIGIN_PUBLISHED: WeightsOrigin
WEIGHTS_ORIGIN_UNVERIFIED: WeightsOrigin
WEIGHTS_ORIGIN_SYNTHETIC: WeightsOrigin
WEIGHTS_ORIGIN_CORROBORATED: WeightsOrigin
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_NO_FACES: ErrorReason
ERROR_REASON_TOO_MANY_FACES: ErrorReason
ERROR_REASON_FIELD_MISSING: ErrorReason
ERROR_REASON_IMAGE_UNREADABLE: ErrorReason
ERROR_REASON_IMAGE_TOO_LARGE: ErrorReason
ERROR_REASON_IMAGE_SIZE: ErrorReason
ERROR_REASON_RAW_SIZE: ErrorReason
ERROR_REASON_CHANNEL_ORDER: ErrorReason
ERROR_REASON_NORMALIZATION: ErrorReason
ERROR_REASON_EMBEDDING_INVALID: ErrorReason
ERROR_REASON_EMBEDDING_SPACE: ErrorReason
ERROR_REASON_THRESHOLD: ErrorReason
ERROR_REASON_MODEL_UNKNOWN: ErrorReason
ERROR_REASON_MODEL_LOADING: ErrorReason
ERROR_REASON_STOPPING: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_MALFORMED: ErrorReason
ERROR_REASON_NO_FACE_FOUND: ErrorReason
ERROR_REASON_SEVERAL_FACES: ErrorReason
ERROR_REASON_FACE_SELECTION: ErrorReason
ERROR_REASON_LANDMARKS_INVALID: ErrorReason
ERROR_REASON_NO_DETECTOR: ErrorReason
ERROR_REASON_OPERATING_POINT_UNKNOWN: ErrorReason
ERROR_REASON_CREDENTIALS_MISSING: ErrorReason
ERROR_REASON_CREDENTIALS_UNKNOWN: ErrorReason
ERROR_REASON_CREDENTIALS_EXPIRED: ErrorReason
ERROR_REASON_PERMISSION: ErrorReason
ERROR_REASON_MODEL_VERSION: ErrorReason
ERROR_REASON_TENSOR: ErrorReason
ERROR_REASON_ABANDONED: ErrorReason
ERROR_REASON_OVERLOADED: ErrorReason
ERROR_REASON_CALLER_SILENT: ErrorReason
ERROR_REASON_UPRIGHT: ErrorReason

class Face(_message.Message):
    __slots__ = ("encoded", "raw", "aligned", "landmarks", "detect")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    ALIGNED_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    DETECT_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawImage
    aligned: Aligned
    landmarks: Landmarks
    detect: DetectFace
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ..., aligned: _Optional[_Union[Aligned, _Mapping]] = ..., landmarks: _Optional[_Union[Landmarks, _Mapping]] = ..., detect: _Optional[_Union[DetectFace, _Mapping]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Landmarks(_message.Message):
    __slots__ = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    LEFT_EYE_FIELD_NUMBER: _ClassVar[int]
    RIGHT_EYE_FIELD_NUMBER: _ClassVar[int]
    NOSE_FIELD_NUMBER: _ClassVar[int]
    LEFT_MOUTH_FIELD_NUMBER: _ClassVar[int]
    RIGHT_MOUTH_FIELD_NUMBER: _ClassVar[int]
    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point
    def __init__(self, left_eye: _Optional[_Union[Point, _Mapping]] = ..., right_eye: _Optional[_Union[Point, _Mapping]] = ..., nose: _Optional[_Union[Point, _Mapping]] = ..., left_mouth: _Optional[_Union[Point, _Mapping]] = ..., right_mouth: _Optional[_Union[Point, _Mapping]] = ...) -> None: ...

class DetectFace(_message.Message):
    __slots__ = ("selection", "upright")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    UPRIGHT_FIELD_NUMBER: _ClassVar[int]
    selection: FaceSelection
    upright: Upright
    def __init__(self, selection: _Optional[_Union[FaceSelection, str]] = ..., upright: _Optional[_Union[Upright, str]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("box", "landmarks", "score", "turned_degrees")
    BOX_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TURNED_DEGREES_FIELD_NUMBER: _ClassVar[int]
    box: Box
    landmarks: Landmarks
    score: float
    turned_degrees: int
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., landmarks: _Optional[_Union[Landmarks, _Mapping]] = ..., score: _Optional[float] = ..., turned_degrees: _Optional[int] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("reason", "value", "limit")
    REASON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    reason: WarningReason
    value: float
    limit: float
    def __init__(self, reason: _Optional[_Union[WarningReason, str]] = ..., value: _Optional[float] = ..., limit: _Optional[float] = ...) -> None: ...

class Aligned(_message.Message):
    __slots__ = ("check_alignment",)
    CHECK_ALIGNMENT_FIELD_NUMBER: _ClassVar[int]
    check_alignment: bool
    def __init__(self, check_alignment: bool = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("data", "width", "height", "channel_order")
    DATA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_ORDER_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    width: int
    height: int
    channel_order: ChannelOrder
    def __init__(self, data: _Optional[bytes] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., channel_order: _Optional[_Union[ChannelOrder, str]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values", "norm", "space", "precision")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    norm: float
    space: str
    precision: str
    def __init__(self, values: _Optional[_Iterable[float]] = ..., norm: _Optional[float] = ..., space: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("model", "faces", "normalization")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    normalization: Normalization
    def __init__(self, model: _Optional[str] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., normalization: _Optional[_Union[Normalization, str]] = ...) -> None: ...

class EmbedResult(_message.Message):
    __slots__ = ("embedding", "error", "faces", "detection", "warnings", "faces_found", "faces_missing")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FACES_FOUND_FIELD_NUMBER: _ClassVar[int]
    FACES_MISSING_FIELD_NUMBER: _ClassVar[int]
    embedding: Embedding
    error: _status_pb2.Status
    faces: EmbeddedFaces
    detection: Detection
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    faces_found: int
    faces_missing: int
    def __init__(self, embedding: _Optional[_Union[Embedding, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., faces: _Optional[_Union[EmbeddedFaces, _Mapping]] = ..., detection: _Optional[_Union[Detection, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., faces_found: _Optional[int] = ..., faces_missing: _Optional[int] = ...) -> None: ...

class EmbeddedFaces(_message.Message):
    __slots__ = ("faces",)
    FACES_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[EmbeddedFace]
    def __init__(self, faces: _Optional[_Iterable[_Union[EmbeddedFace, _Mapping]]] = ...) -> None: ...

class EmbeddedFace(_message.Message):
    __slots__ = ("embedding", "detection", "warnings")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    embedding: Embedding
    detection: Detection
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, embedding: _Optional[_Union[Embedding, _Mapping]] = ..., detection: _Optional[_Union[Detection, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EmbedResult]
    model_version: str
    def __init__(self, results: _Optional[_Iterable[_Union[EmbedResult, _Mapping]]] = ..., model_version: _Optional[str] = ...) -> None: ...

class EmbedStreamRequest(_message.Message):
    __slots__ = ("id", "model", "face", "normalization")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    face: Face
    normalization: Normalization
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., face: _Optional[_Union[Face, _Mapping]] = ..., normalization: _Optional[_Union[Normalization, str]] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("id", "result", "model_version")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    result: EmbedResult
    model_version: str
    def __init__(self, id: _Optional[str] = ..., result: _Optional[_Union[EmbedResult, _Mapping]] = ..., model_version: _Optional[str] = ...) -> None: ...

class CompareSide(_message.Message):
    __slots__ = ("face", "embedding")
    FACE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    face: Face
    embedding: Embedding
    def __init__(self, face: _Optional[_Union[Face, _Mapping]] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("model", "first", "second", "threshold", "operating_point")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    model: str
    first: CompareSide
    second: CompareSide
    threshold: float
    operating_point: str
    def __init__(self, model: _Optional[str] = ..., first: _Optional[_Union[CompareSide, _Mapping]] = ..., second: _Optional[_Union[CompareSide, _Mapping]] = ..., threshold: _Optional[float] = ..., operating_point: _Optional[str] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("cosine_similarity", "decision", "threshold", "space", "expected_false_match_rate", "first", "second", "model_version")
    COSINE_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FALSE_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    cosine_similarity: float
    decision: Decision
    threshold: float
    space: str
    expected_false_match_rate: float
    first: PreparedFace
    second: PreparedFace
    model_version: str
    def __init__(self, cosine_similarity: _Optional[float] = ..., decision: _Optional[_Union[Decision, str]] = ..., threshold: _Optional[float] = ..., space: _Optional[str] = ..., expected_false_match_rate: _Optional[float] = ..., first: _Optional[_Union[PreparedFace, _Mapping]] = ..., second: _Optional[_Union[PreparedFace, _Mapping]] = ..., model_version: _Optional[str] = ...) -> None: ...

class PreparedFace(_message.Message):
    __slots__ = ("detection", "warnings", "faces_found")
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FACES_FOUND_FIELD_NUMBER: _ClassVar[int]
    detection: Detection
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    faces_found: int
    def __init__(self, detection: _Optional[_Union[Detection, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., faces_found: _Optional[int] = ...) -> None: ...

class DetectRequest(_message.Message):
    __slots__ = ("encoded", "raw", "upright")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    UPRIGHT_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawImage
    upright: Upright
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ..., upright: _Optional[_Union[Upright, str]] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("detections", "width", "height")
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    width: int
    height: int
    def __init__(self, detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class GetModelInfoRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "is_default", "model_version", "embedding_space", "embedding_size", "precision", "weights_origin")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SIZE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_default: bool
    model_version: str
    embedding_space: str
    embedding_size: int
    precision: str
    weights_origin: WeightsOrigin
    def __init__(self, name: _Optional[str] = ..., is_default: bool = ..., model_version: _Optional[str] = ..., embedding_space: _Optional[str] = ..., embedding_size: _Optional[int] = ..., precision: _Optional[str] = ..., weights_origin: _Optional[_Union[WeightsOrigin, str]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_faces_per_request", "max_message_bytes", "max_encoded_bytes", "max_stream_in_flight", "max_image_pixels")
    MAX_FACES_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ENCODED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAM_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    max_faces_per_request: int
    max_message_bytes: int
    max_encoded_bytes: int
    max_stream_in_flight: int
    max_image_pixels: int
    def __init__(self, max_faces_per_request: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_encoded_bytes: _Optional[int] = ..., max_stream_in_flight: _Optional[int] = ..., max_image_pixels: _Optional[int] = ...) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("name", "backend", "backend_version", "device", "precision", "channel_order", "input_width", "input_height", "embedding_size", "embedding_space", "weights_sha256", "weights_origin", "weights_note", "license_note", "limits", "drift", "detector", "operating_points", "model_version", "served_models", "precision_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_ORDER_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SIZE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_NOTE_FIELD_NUMBER: _ClassVar[int]
    LICENSE_NOTE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVED_MODELS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    backend: str
    backend_version: str
    device: str
    precision: str
    channel_order: ChannelOrder
    input_width: int
    input_height: int
    embedding_size: int
    embedding_space: str
    weights_sha256: str
    weights_origin: WeightsOrigin
    weights_note: str
    license_note: str
    limits: Limits
    drift: Drift
    detector: str
    operating_points: _containers.RepeatedCompositeFieldContainer[OperatingPoint]
    model_version: str
    served_models: _containers.RepeatedScalarFieldContainer[str]
    precision_reason: str
    def __init__(self, name: _Optional[str] = ..., backend: _Optional[str] = ..., backend_version: _Optional[str] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ..., channel_order: _Optional[_Union[ChannelOrder, str]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ..., embedding_size: _Optional[int] = ..., embedding_space: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., weights_origin: _Optional[_Union[WeightsOrigin, str]] = ..., weights_note: _Optional[str] = ..., license_note: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., drift: _Optional[_Union[Drift, _Mapping]] = ..., detector: _Optional[str] = ..., operating_points: _Optional[_Iterable[_Union[OperatingPoint, _Mapping]]] = ..., model_version: _Optional[str] = ..., served_models: _Optional[_Iterable[str]] = ..., precision_reason: _Optional[str] = ...) -> None: ...

class OperatingPoint(_message.Message):
    __slots__ = ("name", "threshold", "threshold_low", "threshold_high", "false_match_rate", "false_match_rate_high", "false_non_match_rate", "false_non_match_rate_high", "detector", "selection", "upright")
    NAME_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_LOW_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_HIGH_FIELD_NUMBER: _ClassVar[int]
    FALSE_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    FALSE_MATCH_RATE_HIGH_FIELD_NUMBER: _ClassVar[int]
    FALSE_NON_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    FALSE_NON_MATCH_RATE_HIGH_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    UPRIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    threshold: float
    threshold_low: float
    threshold_high: float
    false_match_rate: float
    false_match_rate_high: float
    false_non_match_rate: float
    false_non_match_rate_high: float
    detector: str
    selection: FaceSelection
    upright: Upright
    def __init__(self, name: _Optional[str] = ..., threshold: _Optional[float] = ..., threshold_low: _Optional[float] = ..., threshold_high: _Optional[float] = ..., false_match_rate: _Optional[float] = ..., false_match_rate_high: _Optional[float] = ..., false_non_match_rate: _Optional[float] = ..., false_non_match_rate_high: _Optional[float] = ..., detector: _Optional[str] = ..., selection: _Optional[_Union[FaceSelection, str]] = ..., upright: _Optional[_Union[Upright, str]] = ...) -> None: ...

class Drift(_message.Message):
    __slots__ = ("faces", "min_cosine", "mean_cosine", "pairs", "max_score_change", "flipped_decisions", "threshold")
    FACES_FIELD_NUMBER: _ClassVar[int]
    MIN_COSINE_FIELD_NUMBER: _ClassVar[int]
    MEAN_COSINE_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    MAX_SCORE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    FLIPPED_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    faces: int
    min_cosine: float
    mean_cosine: float
    pairs: int
    max_score_change: float
    flipped_decisions: int
    threshold: float
    def __init__(self, faces: _Optional[int] = ..., min_cosine: _Optional[float] = ..., mean_cosine: _Optional[float] = ..., pairs: _Optional[int] = ..., max_score_change: _Optional[float] = ..., flipped_decisions: _Optional[int] = ..., threshold: _Optional[float] = ...) -> None: ...
