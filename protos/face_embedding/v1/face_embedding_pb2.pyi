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

class WeightsOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHTS_ORIGIN_UNSPECIFIED: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_PUBLISHED: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_UNVERIFIED: _ClassVar[WeightsOrigin]
    WEIGHTS_ORIGIN_SYNTHETIC: _ClassVar[WeightsOrigin]

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
CHANNEL_ORDER_UNSPECIFIED: ChannelOrder
CHANNEL_ORDER_RGB: ChannelOrder
CHANNEL_ORDER_BGR: ChannelOrder
NORMALIZATION_UNSPECIFIED: Normalization
NORMALIZATION_L2: Normalization
NORMALIZATION_NONE: Normalization
DECISION_UNSPECIFIED: Decision
DECISION_MATCH: Decision
DECISION_NO_MATCH: Decision
WEIGHTS_ORIGIN_UNSPECIFIED: WeightsOrigin
WEIGHTS_ORIGIN_PUBLISHED: WeightsOrigin
WEIGHTS_ORIGIN_UNVERIFIED: WeightsOrigin
WEIGHTS_ORIGIN_SYNTHETIC: WeightsOrigin
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

class Face(_message.Message):
    __slots__ = ("encoded", "raw", "aligned")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    ALIGNED_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawImage
    aligned: Aligned
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ..., aligned: _Optional[_Union[Aligned, _Mapping]] = ...) -> None: ...

class Aligned(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

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
    __slots__ = ("values", "norm", "space")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    norm: float
    space: str
    def __init__(self, values: _Optional[_Iterable[float]] = ..., norm: _Optional[float] = ..., space: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("embedding", "error")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    embedding: Embedding
    error: _status_pb2.Status
    def __init__(self, embedding: _Optional[_Union[Embedding, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EmbedResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EmbedResult, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("id", "result")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    id: str
    result: EmbedResult
    def __init__(self, id: _Optional[str] = ..., result: _Optional[_Union[EmbedResult, _Mapping]] = ...) -> None: ...

class CompareSide(_message.Message):
    __slots__ = ("face", "embedding")
    FACE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    face: Face
    embedding: Embedding
    def __init__(self, face: _Optional[_Union[Face, _Mapping]] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("model", "first", "second", "threshold")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    model: str
    first: CompareSide
    second: CompareSide
    threshold: float
    def __init__(self, model: _Optional[str] = ..., first: _Optional[_Union[CompareSide, _Mapping]] = ..., second: _Optional[_Union[CompareSide, _Mapping]] = ..., threshold: _Optional[float] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("cosine_similarity", "decision", "threshold", "space")
    COSINE_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    cosine_similarity: float
    decision: Decision
    threshold: float
    space: str
    def __init__(self, cosine_similarity: _Optional[float] = ..., decision: _Optional[_Union[Decision, str]] = ..., threshold: _Optional[float] = ..., space: _Optional[str] = ...) -> None: ...

class GetModelInfoRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_faces_per_request", "max_message_bytes", "max_encoded_bytes", "max_stream_in_flight")
    MAX_FACES_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ENCODED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAM_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    max_faces_per_request: int
    max_message_bytes: int
    max_encoded_bytes: int
    max_stream_in_flight: int
    def __init__(self, max_faces_per_request: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_encoded_bytes: _Optional[int] = ..., max_stream_in_flight: _Optional[int] = ...) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("name", "backend", "backend_version", "device", "precision", "channel_order", "input_width", "input_height", "embedding_size", "embedding_space", "weights_sha256", "weights_origin", "weights_note", "license_note", "limits", "drift")
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
    def __init__(self, name: _Optional[str] = ..., backend: _Optional[str] = ..., backend_version: _Optional[str] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ..., channel_order: _Optional[_Union[ChannelOrder, str]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ..., embedding_size: _Optional[int] = ..., embedding_space: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., weights_origin: _Optional[_Union[WeightsOrigin, str]] = ..., weights_note: _Optional[str] = ..., license_note: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., drift: _Optional[_Union[Drift, _Mapping]] = ...) -> None: ...

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
