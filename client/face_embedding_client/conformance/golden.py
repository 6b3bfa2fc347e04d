"""The golden file: inputs, and what a server that keeps the contract answers to them.

It is data for clients in any language; its own field `about` says how to read it.
"""

import base64
import binascii
import copy
import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from face_embedding.v1 import face_embedding_pb2 as pb

Vector = NDArray[np.float32]

# The aligned face that the others are held against, and one of another person.
REFERENCE_CASE = "png"
OTHER_CASE = "other face"

_FORMAT = 1
# Of what is wrong with a file.
_MOST_CHARACTERS = 200
_SHIPPED = "conformance.json"
_LITTLE_ENDIAN = "<f4"
_REQUESTS: Mapping[str, Callable[[], Message]] = {
    "Embed": pb.EmbedRequest,
    "Compare": pb.CompareRequest,
    "Detect": pb.DetectRequest,
    "GetModelInfo": pb.GetModelInfoRequest,
    "ListModels": pb.ListModelsRequest,
}
# The precision of the golden embeddings, whose tolerance holds for one that the file does not know.
_REFERENCE = "f32"


class GoldenError(Exception):
    """A file is no golden file; the message says why."""


@dataclass(frozen=True)
class Relation:
    """How the embedding of a case is to that of another, in any embedding space.

    Args:
        case: the name of the other case.
        cosine: the smallest cosine similarity if they show the same face, else the largest.
        same: whether they show the same face.
    """

    case: str
    cosine: float
    same: bool


@dataclass(frozen=True)
class FaceCase:
    """A face and its embedding.

    Args:
        name: what to call it.
        proves: the fact that it shows.
        face: the face, with its preparation.
        embedding: its embedding, float32 `[size]`, of length 1.
        min_cosine: the smallest cosine similarity to it; 1 where the file's tolerance is the limit.
        relations: how its embedding is to those of other cases.
    """

    name: str
    proves: str
    face: pb.Face
    embedding: Vector
    min_cosine: float
    relations: tuple[Relation, ...]


@dataclass(frozen=True)
class ErrorCase:
    """A request that is refused.

    Args:
        name: what to call it.
        proves: the fact that it shows.
        method: the method of the service.
        request: its request.
        answer: the name of the gRPC code, the reason and the field to blame.
    """

    name: str
    proves: str
    method: str
    request: Message
    answer: tuple[str, str, str]


@dataclass(frozen=True)
class Golden:
    """A golden file.

    Args:
        embedding_space: the space of its embeddings.
        min_cosine: the smallest cosine similarity of an answer to them, by precision.
        faces: the faces.
        errors: the refusals.
        document: the file itself.
    """

    embedding_space: str
    min_cosine: Mapping[str, float]
    faces: tuple[FaceCase, ...]
    errors: tuple[ErrorCase, ...]
    document: Mapping[str, Any]

    def tolerance(self, precision: str) -> float:
        """Return the smallest cosine similarity at a precision."""
        return self.min_cosine.get(precision, self.min_cosine[_REFERENCE])

    def face(self, name: str) -> pb.Face:
        """Return the face of a case."""
        return next(case.face for case in self.faces if case.name == name)

    def text(self, model: str, embedding_space: str, embeddings: Mapping[str, Vector]) -> str:
        """Return this file with the embeddings of another model, by the names of the cases."""
        document = copy.deepcopy(dict(self.document))
        document |= {"model": model, "embedding_space": embedding_space}
        for face in document["faces"]:
            little_endian = embeddings[face["name"]].astype(_LITTLE_ENDIAN)
            face["embedding"] = base64.b64encode(little_endian.tobytes()).decode()
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def load(file: Path | None = None) -> Golden:
    """Read a golden file, by default the one of this package.

    Raises:
        OSError: if it cannot be read.
        GoldenError: if it is no golden file.
    """
    source = file or resources.files("face_embedding_client") / _SHIPPED
    try:
        document = json.loads(source.read_text("utf-8-sig"))
        # JSON has halves of characters, which no message has.
        json.dumps(document, ensure_ascii=False).encode()
        return _parse(document)
    except KeyError as error:
        raise _no_golden(source, f"it has no {error}") from error
    except RecursionError as error:
        raise _no_golden(source, "it is nested too deeply") from error
    except (
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        json_format.ParseError,
        binascii.Error,
    ) as error:
        raise _no_golden(source, str(error)) from error


def _no_golden(source: object, reason: str) -> GoldenError:
    return GoldenError(f"{source} is no golden file: {reason:.{_MOST_CHARACTERS}}")


def _parse(document: Any) -> Golden:
    if document["format"] != _FORMAT:
        found = reprlib.repr(document["format"])
        raise ValueError(f"its format is {found}, this program knows {_FORMAT}")
    golden = Golden(
        _text(document, "embedding_space"),
        {name: _cosine(each, "min_cosine") for name, each in document["tolerances"].items()},
        tuple(map(_face_case, document["faces"])),
        tuple(map(_error_case, document["errors"])),
        document,
    )
    names = [case.name for case in golden.faces]
    if len(set(names)) < len(names):
        raise ValueError("two faces have the same name")
    related = {relation.case for case in golden.faces for relation in case.relations}
    if missing := {REFERENCE_CASE, OTHER_CASE, *related} - set(names):
        raise ValueError(f"there is no face named {', '.join(sorted(missing))}")
    golden.tolerance(_REFERENCE)
    return golden


def _face_case(item: Any) -> FaceCase:
    embedding = np.frombuffer(base64.b64decode(item["embedding"], validate=True), _LITTLE_ENDIAN)
    relations = [
        Relation(_text(item[key], "case"), _cosine(item[key], limit), key == "same_as")
        for key, limit in (("same_as", "min_cosine"), ("differs_from", "max_cosine"))
        if key in item
    ]
    return FaceCase(
        _text(item, "name"),
        _text(item, "proves"),
        json_format.ParseDict(item["face"], pb.Face()),
        embedding.astype(np.float32),
        _cosine(item, "min_cosine") if "min_cosine" in item else 1.0,
        tuple(relations),
    )


def _error_case(item: Any) -> ErrorCase:
    return ErrorCase(
        _text(item, "name"),
        _text(item, "proves"),
        item["method"],
        json_format.ParseDict(item["request"], _REQUESTS[item["method"]]()),
        (_text(item, "code"), _text(item, "reason"), _text(item, "field")),
    )


def _text(item: Any, key: str) -> str:
    if not isinstance(item[key], str):
        raise TypeError(f"'{key}' cannot be {reprlib.repr(item[key])}, it is a text")
    return str(item[key])


def _cosine(item: Any, key: str) -> float:
    value = item[key]
    if type(value) not in (int, float) or not -1 <= value <= 1:
        raise ValueError(f"'{key}' cannot be {reprlib.repr(value)}, it is a number from -1 to 1")
    return float(value)
