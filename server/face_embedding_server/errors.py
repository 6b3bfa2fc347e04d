"""What can go wrong in the server, apart from how callers are told.

    OperatorError     a command cannot do what it was told
    Refusal           a request, or one face of it, is refused, for a `Reason`

Each message says what was wrong, where, and what to do. `rpc.status` makes statuses of refusals.
"""

from enum import Enum, auto


class Reason(Enum):
    """Why a request, or one face of it, is refused; the names are those of the contract."""

    NO_FACES = auto()
    TOO_MANY_FACES = auto()
    FIELD_MISSING = auto()
    IMAGE_UNREADABLE = auto()
    IMAGE_TOO_LARGE = auto()
    IMAGE_SIZE = auto()
    RAW_SIZE = auto()
    CHANNEL_ORDER = auto()
    NORMALIZATION = auto()
    EMBEDDING_INVALID = auto()
    EMBEDDING_SPACE = auto()
    THRESHOLD = auto()
    MODEL_UNKNOWN = auto()
    MODEL_LOADING = auto()
    STOPPING = auto()
    INTERNAL = auto()
    MALFORMED = auto()
    NO_FACE_FOUND = auto()
    SEVERAL_FACES = auto()
    FACE_SELECTION = auto()
    LANDMARKS_INVALID = auto()
    NO_DETECTOR = auto()
    OPERATING_POINT_UNKNOWN = auto()
    CREDENTIALS_MISSING = auto()
    CREDENTIALS_UNKNOWN = auto()
    CREDENTIALS_EXPIRED = auto()
    PERMISSION = auto()
    MODEL_VERSION = auto()
    TENSOR = auto()
    ABANDONED = auto()
    OVERLOADED = auto()
    CALLER_SILENT = auto()
    UPRIGHT = auto()


class OperatorError(Exception):
    """A command cannot do what it was told; the message says why and what to do.

    Base of every such error but those about model files, which are `ModelError`.
    """


class Refusal(Exception):
    """A request, or one face of it, is refused.

    Args:
        reason: why; it decides the status code.
        message: what was wrong and what to do, for the caller.
        field: the path of the field to blame, such as `encoded`; callers prepend where it is.
        again_s: seconds after which the same may be tried again; 0 where that does not help.
    """

    def __init__(self, reason: Reason, message: str, field: str = "", again_s: float = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.again_s = again_s

    def within(self, prefix: str) -> "Refusal":
        """Return the same refusal with a longer path."""
        path = ".".join(filter(None, (prefix, self.field)))
        return Refusal(self.reason, self.message, path, self.again_s)
