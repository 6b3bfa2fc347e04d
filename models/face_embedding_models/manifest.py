"""What is known of each model without its weights: a TOML file each.

The models that this project ships a manifest for are in `manifests/`, one file a model, and the
detectors in `detectors/`. A user's own manifest has the same schema and is kept in the store.
"""

import difflib
from collections.abc import Sequence
from dataclasses import KW_ONLY
from functools import cache
from importlib import resources
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from face_embedding_models import toml
from face_embedding_models.errors import ManifestError, UnknownModelError
from face_embedding_models.formats import PARTS, Format
from face_embedding_models.texts import clipped

P = TypeVar("P", bound="Package")
ChannelOrder = Literal["RGB", "BGR"]
# What a digest proves: that the publisher states it, or that independent copies have it.
Proof = Literal["published", "corroborated"]

_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
# Also the name of a folder.
_Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
# Never a path, as files are looked for by it.
_FileName: TypeAlias = Annotated[str, Field(pattern=r"^[^/\\]+$", max_length=200)]
_Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Address: TypeAlias = Annotated[str, Field(pattern=r"^https?://\S+$")]
_Positive: TypeAlias = Annotated[int, Field(gt=0)]
_Side: TypeAlias = Annotated[int, Field(gt=0, le=1024)]
_Size: TypeAlias = Annotated[int, Field(ge=1, le=65536)]
_Percent: TypeAlias = Annotated[float, Field(gt=0, le=100)]


@dataclass(frozen=True, config=_CONFIG)
class Address:
    """Where a file has been seen: its http(s) address, and in what it was seen."""

    url: _Address
    seen: str


@dataclass(frozen=True, config=_CONFIG)
class Download:
    """A file that can be fetched.

    Args:
        file: its name.
        size: its bytes; None where that is not known.
        sha256: its digest in hexadecimal digits; None where it is not known.
        proof: what the digest proves.
        addresses: where to fetch it, in the order to try.
    """

    file: _FileName
    size: _Positive | None = None
    sha256: _Sha256 | None = None
    proof: Proof = "published"
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, config=_CONFIG)
class License:
    """The terms of the weights.

    Args:
        name: in one word, such as `Apache-2.0` or `non-commercial`.
        terms: the terms in a sentence.
        stated_at: the address that states them.
        must_be_accepted: whether they have to be accepted before the weights are fetched.
    """

    name: Annotated[str, Field(pattern=r"^\S+$")]
    terms: str
    stated_at: _Address | None = None
    must_be_accepted: bool = False


@dataclass(frozen=True, config=_CONFIG)
class Input:
    """What the network takes.

    Args:
        width: in pixels.
        height: in pixels.
        channel_order: the order of the channels that the network itself takes.
        name: the input's name in the file; empty for the only one.
        mean: is subtracted from the pixels, which are 0 to 255, before the network sees them.
        scale: divides them after that.
    """

    width: _Side
    height: _Side
    channel_order: ChannelOrder
    name: str = ""
    mean: float = 0.0
    scale: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True, config=_CONFIG)
class Output:
    """The embedding.

    Args:
        size: its number of values.
        name: its name in the file; empty for the only output.
        ir_name: its name in the IR.
        min_norm: the least norm that the trained weights give a raw embedding of an aligned face;
            None where it was not measured.
    """

    size: _Size
    name: str = ""
    ir_name: str = "pre_fc1"
    min_norm: Annotated[float, Field(gt=0)] | None = None


@dataclass(frozen=True, config=_CONFIG)
class Network:
    """The architecture, for the stand-in: its family and, where it has some, units per stage."""

    family: str
    units: tuple[_Positive, ...] = ()


@dataclass(frozen=True, config=_CONFIG)
class Published:
    """What the publishers say; None where they do not.

    Args:
        lfw_accuracy_percent: on Labeled Faces in the Wild, ten folds.
        ijbc_tar_percent: on IJB-C, true accept rate at a false accept rate of 1e-4.
        mparams: millions of parameters.
        gflops: billions of operations for a face.
    """

    lfw_accuracy_percent: _Percent | None = None
    ijbc_tar_percent: _Percent | None = None
    mparams: float | None = None
    gflops: float | None = None


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Parity:
    """How closely the backends agree at f32 on raw embeddings.

    `max_scaled_difference` is the largest absolute difference of a value divided by the root mean
    square of the reference embedding's values; infinite where only the cosine counts.
    """

    min_cosine: Annotated[float, Field(ge=-1, le=1)] = 0.999999
    max_scaled_difference: Annotated[float, Field(gt=0)] = 1e-4


@dataclass(frozen=True, config=_CONFIG)
class Package:
    """Files that can be installed, and under which terms.

    Args:
        name: of the model, also that of its folder in the store.
        description: in a sentence.
        format: of the files.
        license: the terms.
        archive: a zip archive that holds the files; None if there is none.
        files: the files themselves, where their names, digests or addresses are known.
    """

    name: _Name
    description: str
    format: Format
    license: License
    _: KW_ONLY
    archive: Download | None = None
    files: tuple[Download, ...] = ()

    @property
    def download_bytes(self) -> int | None:
        """The size of what `install` fetches, where it is known."""
        if self.archive and self.archive.addresses:
            return self.archive.size
        if self.files:
            sizes = [file.size for file in self.files]
            return sum(size for size in sizes if size) if all(sizes) else None
        return self.archive.size if self.archive else None

    @model_validator(mode="after")
    def _check_files(self) -> "Package":
        for part in PARTS[self.format] if self.files else ():
            if [file.file.endswith(part.suffix) for file in self.files].count(True) != 1:
                raise ValueError(f"[[files]] of the format {self.format} name one *{part.suffix}")
        if len(self.files) > len(PARTS[self.format]):
            raise ValueError(f"[[files]] name more than the format {self.format} has")
        return self


@dataclass(frozen=True, config=_CONFIG)
class Manifest(Package):
    """Everything that is known of a recognition network without its weights."""

    input: Input
    output: Output
    network: Network | None = None
    published: Published = Published()
    parity: Parity = Parity()

    @model_validator(mode="after")
    def _check_network(self) -> "Manifest":
        if self.format == "mxnet":
            if not (self.input.name and self.output.name):
                raise ValueError("the format mxnet needs [input] name and [output] name")
            if (self.input.mean, self.input.scale) != (0.0, 1.0):
                raise ValueError("the format mxnet normalises inside: [input] has no mean or scale")
        return self


@dataclass(frozen=True, config=_CONFIG)
class DetectorManifest(Package):
    """Everything that is known of a detector without its weights."""


AnyManifest: TypeAlias = Manifest | DetectorManifest

_MANIFEST_FOLDER = "manifests"
_DETECTOR_FOLDER = "detectors"


def names() -> list[str]:
    """Return the names of the models that are shipped with a manifest, sorted."""
    return _shipped(_MANIFEST_FOLDER)


def detector_names() -> list[str]:
    """Return the names of the detectors that are shipped with a manifest, sorted."""
    return _shipped(_DETECTOR_FOLDER)


@cache
def load(name: str) -> Manifest:
    """Return the manifest that is shipped for the model called `name`.

    Raises:
        UnknownModelError: if there is none.
    """
    if name not in names():
        raise unknown(name, names())
    return parse(_read(_MANIFEST_FOLDER, name))


@cache
def load_detector(name: str) -> DetectorManifest:
    """Return the manifest that is shipped for the detector called `name`.

    Raises:
        UnknownModelError: if there is none.
    """
    if name not in detector_names():
        raise unknown(name, detector_names())
    return _parse(DetectorManifest, _read(_DETECTOR_FOLDER, name))


def load_any(name: str) -> AnyManifest:
    """Return the manifest that is shipped for a model or a detector.

    Raises:
        UnknownModelError: if there is none.
    """
    if name in detector_names():
        return load_detector(name)
    if name in names():
        return load(name)
    raise unknown(name, names() + detector_names())


def parse(text: str) -> Manifest:
    """Read the manifest of a recognition network.

    Raises:
        ManifestError: if it is no TOML, or a key is missing, unknown or wrong.
    """
    return _parse(Manifest, text)


def to_json(known: Manifest) -> str:
    """Write a manifest for `from_json`."""
    return TypeAdapter(Manifest).dump_json(known).decode()


def from_json(text: str) -> Manifest:
    """Read what `to_json` wrote."""
    return TypeAdapter(Manifest).validate_json(text)


def unknown(name: str, known: Sequence[str]) -> UnknownModelError:
    """Return the error for a name that no manifest has, with the closest one."""
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
    return UnknownModelError(f"no model is called '{clipped(name)}'; {hint}")


def _shipped(folder: str) -> list[str]:
    files = (resources.files("face_embedding_models") / folder).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def _read(folder: str, name: str) -> str:
    return (resources.files("face_embedding_models") / folder / f"{name}.toml").read_text("utf-8")


def _parse(kind: type[P], text: str) -> P:
    try:
        return toml.read(kind, text, "manifest")
    except ValueError as error:
        raise ManifestError(str(error)) from error
