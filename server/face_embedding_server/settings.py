"""The server's settings: from flags, environment variables and a TOML file, in that order.

Every field can be given as `--some-field`, as `FACE_EMBEDDING_SOME_FIELD` and as `some_field` in
the file. All of them are checked at start, and a name that is not known is refused wherever it
stands. This is the only module that reads the environment.
"""

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from face_embedding_models import regular_files, store, toml
from face_embedding_models.checking import MOST_PROBLEMS, reason
from face_embedding_models.texts import clipped, shown
from face_embedding_server import addresses
from face_embedding_server.errors import OperatorError
from face_embedding_server.limits import (
    DEFAULT_MAX_ENCODED_BYTES,
    DEFAULT_MAX_IMAGE_PIXELS,
    MAX_FACES_PER_REQUEST,
)

ENVIRONMENT_PREFIX = "FACE_EMBEDDING_"
CONFIG_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"
STORE_VARIABLE = f"{ENVIRONMENT_PREFIX}STORE"
# Set for others: the tests' data, the client's token, that `make demo` shall not try a download, or
# by Kubernetes for a service of our name.
_FOREIGN_VARIABLES = re.compile(
    rf"{ENVIRONMENT_PREFIX}"
    r"(TEST_DATA|TOKEN_FILE|OFFLINE|(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|(\w+_)?PORT(_\d+_\w+)?)"
)
ALL_OTHERS = "*"
AUTO = "auto"
_Address: TypeAlias = Annotated[str, AfterValidator(addresses.checked)]
MOST_PROCESSES = 256
_MIB = 1 << 20
_MANY = 100_000


class SettingsError(OperatorError):
    """A setting is missing, unknown or wrong; the message names it and where it was given."""


class Settings(BaseModel):
    """What the server is told at start."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(
        description="the model's name, as 'models list' shows it; or several, separated by commas, "
        f"of which the first is the default, and {ALL_OTHERS} stands for all others in the store",
    )
    watch_s: float = Field(
        0,
        ge=0,
        le=86400,
        description="seconds between looks for changed models in the store; 0 looks only on SIGHUP",
    )
    backend: str = Field(
        "openvino", description="the inference engine: openvino, mxnet or onnxruntime"
    )
    precision: str = Field(
        "f32",
        description="the precision: f32, bf16 or int8; or auto, the fastest on this machine of "
        "those that come near enough to f32, as measured when a model is loaded",
    )
    min_cosine: float = Field(
        0.9995,
        ge=0,
        le=1,
        description="with precision auto, the smallest cosine similarity of a face's embedding to "
        "its embedding at f32",
    )
    precision_reason: str = Field(
        "by the server's settings",
        description="why the precision is this one, as GetModelInfo tells it; for what starts "
        "servers and has measured before",
    )
    address: _Address = Field(
        "127.0.0.1:50051", description="HOST:PORT to listen on; port 0 takes a free one"
    )
    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_PROCESSES)] = Field(
        1,
        description="how many processes serve on the address, each with its share of the "
        "processors and models of its own; auto is as many as one process alone would hold back",
    )
    tls_certificate: Path | None = Field(
        None, description="the server's certificate with its chain, a PEM file; read anew on change"
    )
    tls_key: Path | None = Field(None, description="the certificate's key, a PEM file")
    tls_client_ca: Path | None = Field(
        None,
        description="certificates of the authorities of clients, a PEM file; with it, a client has "
        "to show a certificate",
    )
    access: Path | None = Field(
        None,
        description="who may call what, a TOML file, read anew on change; without it, everyone may "
        "call everything",
    )
    allow_plaintext_network: bool = Field(
        False, description="listen on an address that is not loopback without TLS"
    )
    allow_plaintext_tokens: bool = Field(False, description="take bearer tokens without TLS")
    health_address: _Address | None = Field(
        None,
        description="HOST:PORT that answers health checks alone, without TLS, for probes",
    )
    reflection: bool = Field(True, description="tell clients the contract by reflection")
    channelz: bool = Field(False, description="tell the state of connections by channelz")
    metrics_address: _Address | None = Field(
        None, description="HOST:PORT to serve Prometheus metrics on, over HTTP"
    )
    tracing: bool = Field(
        False, description="send traces where OpenTelemetry's OTEL_ variables say"
    )
    log_format: Literal["text", "json"] = Field("text", description="the log's form: text or json")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="the least level that is logged: debug, which has every call, info, warning or "
        "error",
    )
    keepalive_s: float = Field(
        60, ge=1, le=86400, description="seconds of silence after which a client is pinged"
    )
    keepalive_timeout_s: float = Field(
        20, ge=1, le=3600, description="seconds after which a client that is silent is given up"
    )
    max_connection_age_s: float = Field(
        0,
        ge=0,
        le=86400,
        description="seconds after which a client has to connect anew, so that load spreads; 0 is "
        "never",
    )
    max_connection_age_grace_s: float = Field(
        30, ge=0, le=86400, description="seconds that its calls have to finish after that"
    )
    store: Path = Field(
        default_factory=store.default_root, description="the folder with the models"
    )
    detector: str = Field(
        "auto",
        description="what finds faces in photographs: mtcnn, yunet, none, or auto, which is mtcnn "
        "where it is installed",
    )
    detector_precision: Literal["f32", "bf16"] = Field(
        "f32",
        description="the precision of the detector's networks: f32 or bf16, which is f32 where the "
        "processor lacks it",
    )
    detector_model: Path | None = Field(
        None,
        description="the detector's model, an ONNX file; default: what 'models install' put into "
        "the store",
    )
    calibration: Path | None = Field(
        None, description="the operating points, a file made by 'calibrate'"
    )
    max_faces_per_request: int = Field(
        64, ge=1, le=MAX_FACES_PER_REQUEST, description="the most faces in one Embed"
    )
    max_message_bytes: int = Field(
        16 * _MIB,
        ge=_MIB,
        le=1024 * _MIB,
        description="the most bytes in one gRPC message, either way",
    )
    max_encoded_bytes: int = Field(
        DEFAULT_MAX_ENCODED_BYTES,
        ge=1,
        le=1024 * _MIB,
        description="the most bytes in one encoded image",
    )
    max_image_pixels: int = Field(
        DEFAULT_MAX_IMAGE_PIXELS, ge=1, le=1 << 30, description="the most pixels of one image"
    )
    max_stream_in_flight: int = Field(
        32, ge=1, le=_MANY, description="the most items in flight in one EmbedStream"
    )
    max_calls_per_connection: int = Field(
        256,
        ge=1,
        le=_MANY,
        description="the most calls at a time on one connection; clients hold back more. A proxy "
        "before the server needs many",
    )
    max_bytes_in_flight: int = Field(
        256 * _MIB,
        ge=_MIB,
        le=1 << 40,
        description="the most bytes of all messages being answered; more are refused, or held back "
        "in streams",
    )
    patience_s: float = Field(
        15,
        ge=0.5,
        le=3600,
        description="seconds for which a call waits for its message, or for a caller to take an "
        "answer; less where others need the thread",
    )
    stream_idle_s: float = Field(
        300,
        ge=1,
        le=86400,
        description="seconds after which a stream is ended in which nothing comes and nothing is "
        "awaited; less where others need the thread",
    )
    drain_s: float = Field(
        1.0, ge=0, le=3600, description="seconds for which a stopping server answers UNAVAILABLE"
    )
    grace_s: float = Field(
        30.0,
        ge=0,
        le=86400,
        description="seconds that accepted calls have to finish, from the signal to stop on",
    )
    stall_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="seconds after which an engine or a detector that gives no answer is given up: "
        "the server "
        "says NOT_SERVING, and ends with an error",
    )

    @property
    def models(self) -> list[str]:
        """The names of the models, of which the last may be `ALL_OTHERS`."""
        return [name.strip() for name in self.model.split(",")]

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if self.models[0] == ALL_OTHERS or "" in self.models:
            raise ValueError("model has to name a model first, which is the default one")
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"model names one twice: {clipped(self.model)}")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key need each other")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if not (
            addresses.is_loopback(self.address)
            or self.tls_certificate
            or self.allow_plaintext_network
        ):
            raise ValueError(
                f"address {clipped(self.address)} can be reached from the network, where anyone "
                f"could read faces and embeddings: give tls_certificate and tls_key, or set "
                f"allow_plaintext_network if something else encrypts, such as a mesh"
            )
        return self


def load(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Merge and check the settings.

    Args:
        flags: values by field name, and the TOML file's path under `config`; None is absent.
        environment: the environment variables.

    Raises:
        SettingsError: if a value is wrong or missing, a name is unknown, or the file is unreadable.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    config = given.pop("config", environment.get(CONFIG_VARIABLE))
    sources = {
        **(
            {name: (str(config), value) for name, value in _read_toml(Path(config)).items()}
            if config
            else {}
        ),
        **{
            name: (variable, value)
            for name, (variable, value) in _read_environment(environment).items()
        },
        **{name: (f"--{name.replace('_', '-')}", value) for name, value in given.items()},
    }
    try:
        return Settings.model_validate({name: value for name, (_, value) in sources.items()})
    except ValidationError as error:
        found = itertools.islice(error.errors(include_url=False), MOST_PROBLEMS)
        raise SettingsError("; ".join(_explain(each, sources) for each in found)) from error


def store_root(flag: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the store's folder for commands that need nothing else."""
    return flag or Path(environment.get(STORE_VARIABLE) or store.default_root())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return toml.loads(regular_files.read_text(path))
    except (OSError, ValueError) as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from error


def _read_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    given = {
        variable.removeprefix(ENVIRONMENT_PREFIX).lower(): (clipped(variable), value)
        for variable, value in environment.items()
        if variable.startswith(ENVIRONMENT_PREFIX)
        and variable != CONFIG_VARIABLE
        and not _FOREIGN_VARIABLES.fullmatch(variable)
    }
    for variable, value in given.values():
        if not value:
            raise SettingsError(f"{variable} is empty: unset it, or give it a value")
    return given


def _explain(error: Any, sources: Mapping[str, tuple[str, Any]]) -> str:
    """Say what is wrong with one setting, and where it was given."""
    if not error["loc"]:
        return str(error["ctx"]["error"])  # Several settings do not fit together.
    name = str(error["loc"][0])
    if error["type"] == "missing":
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        return f"'{name}' is missing: give --{name}, {variable} or '{name}' in the settings file"
    where, value = sources[name]
    name = clipped(name)
    if error["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"{where} sets '{name}', which is not a setting; known are {known}"
    return f"{where}: '{name}' cannot be {shown(value)}: {reason(error)}"
