"""Settings: where they come from, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from face_embedding_server import settings
from face_embedding_server.settings import SettingsError


def test_precedence(tmp_path: Path) -> None:
    """A flag wins over the environment, which wins over the file."""
    config = tmp_path / "settings.toml"
    config.write_text('model = "file"\nbackend = "file"\nprecision = "file"\ndrain_s = 3\n')
    environment = {"FACE_EMBEDDING_MODEL": "environment", "FACE_EMBEDDING_BACKEND": "environment"}
    chosen = settings.load({"model": "flag", "backend": None, "config": config}, environment)
    assert (chosen.model, chosen.backend, chosen.precision) == ("flag", "environment", "file")
    assert chosen.drain_s == 3


def test_file_by_environment(tmp_path: Path) -> None:
    """The file can be named by the environment."""
    config = tmp_path / "settings.toml"
    config.write_text('model = "file"\n')
    assert settings.load({}, {"FACE_EMBEDDING_CONFIG": str(config)}).model == "file"


def test_vast_number(tmp_path: Path) -> None:
    """A number that Python reads and does not write is refused like others."""
    config = tmp_path / "settings.toml"
    config.write_text(f'model = "m"\nmax_faces_per_request = 0x{"f" * 4000}\n')
    with pytest.raises(SettingsError, match="'max_faces_per_request' cannot be a number of over"):
        settings.load({"config": config}, {})


def test_precision_everywhere(tmp_path: Path) -> None:
    """How a precision is chosen can be set by the file and by the environment."""
    config = tmp_path / "settings.toml"
    config.write_text('model = "file"\nprecision = "auto"\nmin_cosine = 0.99\n')
    by_file = settings.load({"config": config}, {})
    environment = {"FACE_EMBEDDING_PRECISION": "auto", "FACE_EMBEDDING_MIN_COSINE": "0.99"}
    by_environment = settings.load({"model": "m"}, environment)
    for chosen in (by_file, by_environment):
        assert (chosen.precision, chosen.min_cosine) == ("auto", 0.99)


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ({}, {}, "'model' is missing: give --model, FACE_EMBEDDING_MODEL or 'model' in"),
        ({"model": "m"}, {"FACE_EMBEDDING_MODLE": "x"}, "FACE_EMBEDDING_MODLE sets 'modle', which"),
        ({"model": "m", "drain_s": "-1"}, {}, "--drain-s: 'drain_s' cannot be '-1': Input should"),
        ({"model": "m", "address": "h:65536"}, {}, "--address: 'address' cannot be 'h:65536'"),
        ({"model": "m", "min_cosine": "1.1"}, {}, "--min-cosine: .* less than or equal to 1"),
        ({"model": "m", "min_cosine": "-1"}, {}, "--min-cosine: .* greater than or equal to 0"),
        ({"model": "m", "min_cosine": "nan"}, {}, "--min-cosine: 'min_cosine' cannot be 'nan'"),
        ({"model": "m", "grace_s": "inf"}, {}, "--grace-s: 'grace_s' cannot be 'inf'"),
        ({"model": "m", "max_stream_in_flight": "9999999"}, {}, "'max_stream_in_flight' cannot"),
        ({"model": "m", "address": "nowhere"}, {}, "--address: 'address' cannot be 'nowhere'"),
        (
            {"model": "m"},
            {"FACE_EMBEDDING_MAX_FACES_PER_REQUEST": "many"},
            "FACE_EMBEDDING_MAX_FACES_PER_REQUEST: .* cannot be 'many'",
        ),
        ({"config": "/nowhere.toml"}, {}, "the settings file /nowhere.toml cannot be read"),
    ],
    ids=[
        "missing",
        "unknown",
        "range",
        "port",
        "cosine above",
        "cosine below",
        "no cosine",
        "infinite",
        "large",
        "address",
        "number",
        "no file",
    ],
)
def test_refused(flags: dict[str, Any], environment: dict[str, str], message: str) -> None:
    """A wrong setting is refused, with its name and where it was given."""
    with pytest.raises(SettingsError, match=message):
        settings.load(flags, environment)


@pytest.mark.parametrize("text", ['modle = "x"\n', "no toml"], ids=["unknown", "junk"])
def test_bad_file(text: str, tmp_path: Path) -> None:
    """An unknown key in the file, or a file that is not TOML, is refused with the file's name."""
    config = tmp_path / "settings.toml"
    config.write_text(text)
    with pytest.raises(SettingsError, match=r"settings\.toml"):
        settings.load({"model": "m", "config": config}, {})


@pytest.mark.parametrize(
    "variable",
    [
        "FACE_EMBEDDING_TEST_DATA",
        "FACE_EMBEDDING_OFFLINE",
        "FACE_EMBEDDING_SERVICE_HOST",
        "FACE_EMBEDDING_SERVICE_PORT",
        "FACE_EMBEDDING_SERVICE_PORT_GRPC",
        "FACE_EMBEDDING_PORT",
        "FACE_EMBEDDING_PORT_50051_TCP_ADDR",
        "FACE_EMBEDDING_CANARY_SERVICE_HOST",
    ],
)
def test_foreign_variables(variable: str) -> None:
    """What Kubernetes, the tests and CI set under our prefix is no setting."""
    assert settings.load({"model": "m"}, {variable: "tcp://10.0.0.1:50051"}).model == "m"


def test_store_root(tmp_path: Path) -> None:
    """The store is the flag's folder, else the environment's, else one in the user's data."""
    environment = {"FACE_EMBEDDING_STORE": str(tmp_path)}
    assert settings.store_root(Path("flag"), environment) == Path("flag")
    assert settings.store_root(None, environment) == tmp_path
    assert settings.store_root(None, {}).parts[-2:] == ("face-embedding", "models")
