"""What is known of each model: one TOML file a model in `manifests/`.

A model is added by adding a file.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeVar

from face_embedding_models import toml
from face_embedding_models.errors import ModelError, UnknownModelError

T = TypeVar("T")
ChannelOrder = Literal["RGB", "BGR"]


@dataclass(frozen=True)
class Source:
    """The published archive; `size` in bytes, None where it is not known."""

    file: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Input:
    """The network's input: its name, its size in pixels, and the checkpoint's channel order."""

    name: str
    width: int
    height: int
    mxnet_channel_order: ChannelOrder


@dataclass(frozen=True)
class Output:
    """The embedding: its name in the checkpoint and in the IR, and its number of values.

    `min_norm` is the least norm that the trained weights give a raw embedding of an aligned face;
    None where it was not measured.
    """

    mxnet_name: str
    ir_name: str
    size: int
    min_norm: float | None = None


@dataclass(frozen=True)
class Network:
    """The architecture, for the stand-in: its family and, where it has some, units per stage."""

    family: str
    units: tuple[int, ...] = ()


@dataclass(frozen=True)
class Published:
    """What the publishers say."""

    lfw_accuracy_percent: float
    mparams: float
    gflops: float
    license_note: str


@dataclass(frozen=True)
class Parity:
    """How closely the backends agree at f32 on raw embeddings.

    `max_scaled_difference` is the largest absolute difference of a value divided by the root mean
    square of the reference embedding's values.
    """

    min_cosine: float
    max_scaled_difference: float


@dataclass(frozen=True)
class Manifest:
    """Everything that is known of a model without its weights."""

    name: str
    description: str
    source: Source
    input: Input
    output: Output
    network: Network
    published: Published
    parity: Parity


def names() -> list[str]:
    """Return the names of the models that have a manifest, sorted."""
    folder = resources.files("face_embedding_models") / "manifests"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


@cache
def load(name: str) -> Manifest:
    """Return the manifest of the model called `name`.

    Raises:
        UnknownModelError: if there is none.
    """
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        raise UnknownModelError(f"no model is called '{name}'; {hint}")
    file = resources.files("face_embedding_models") / "manifests" / f"{name}.toml"
    return parse(file.read_text("utf-8"))


def parse(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        ModelError: if a key is missing or unknown.
    """
    return _build(Manifest, toml.loads(text), "the manifest")


def _build(kind: type[T], table: dict[str, Any], where: str) -> T:
    """Make a dataclass of a table, refusing keys that do not match its fields."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every kind here is a dataclass
    required = {n for n, field in fields.items() if field.default is dataclasses.MISSING}
    if wrong := sorted(required - table.keys()) or sorted(table.keys() - fields.keys()):
        raise ModelError(f"{where}: the key '{wrong[0]}' is missing or unknown")
    values = {}
    for name, value in table.items():
        if isinstance(value, dict):
            value = _build(_SECTIONS[name], value, f"[{name}] of {where}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


_SECTIONS: dict[str, type[Any]] = {
    "source": Source,
    "input": Input,
    "output": Output,
    "network": Network,
    "published": Published,
    "parity": Parity,
}
